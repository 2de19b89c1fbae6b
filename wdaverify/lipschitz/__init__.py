"""Proven upper bounds of Lipschitz constants of logit functionals, in the norm of the ground cost."""
