"""Whether a network can satisfy a specification: unsat proven by bounds, sat by a point that everybody can replay."""
