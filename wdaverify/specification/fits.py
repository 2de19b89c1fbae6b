"""Whether a specification is one of a network."""

from __future__ import annotations

from wdaverify.errors import SpecificationError
from wdaverify.network.model import ReluNetwork
from wdaverify.specification.model import Specification


def check_fits(network: ReluNetwork, specification: Specification) -> None:
    """Refuse a specification of another network, or one about outputs that were left out.

    Raises:
        SpecificationError: says which numbers differ, or what to do.
    """
    have, asked = (network.n_inputs, network.n_outputs), (specification.inputs, specification.outputs)
    if have != asked:
        raise SpecificationError(
            f"{specification.name} is about {asked[0]} inputs and {asked[1]} outputs, {network.name} has {have[0]} and {have[1]}: "
            "the two have to agree; give the network that it was written for"
        )
    for what, stated, found in zip(
        ("input", "output"),
        specification.shapes or (),
        (network.input_shape, network.output_shape),
        strict=False,
    ):
        if [size for size in stated if size > 1] != [size for size in found if size > 1]:
            raise SpecificationError(
                f"{specification.name} declares an {what} of shape {list(stated)}, {network.name} has one of {list(found)}: the two have "
                "to agree but for axes of size 1; give the network that it was written for"
            )
    if network.head is not None:
        raise SpecificationError(
            f"{network.name} ends in a {network.head}, which is dropped, and a specification is about the network's own outputs; "
            "where the scores in front of it are meant, say so with --logits (logits=True)"
        )
