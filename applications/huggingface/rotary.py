"""How configs say rotary positions: at the top (transformers 4), or in one object (transformers 5)."""

from ...ops.frequencies import SCALINGS, read_scaling
from .fields import POSITIVE, SIZE, Field, Kind
from .shown import Difference

_OTHERS = ("rope_theta", "partial_rotary_factor")
_RULE = f"an object with a `rope_type`, one of {', '.join(map(repr, SCALINGS))}, and the keys of that type"


def _first(attribute):
    """Where a setting of rotary positions shows: in the first block that has them."""

    def show(layers):
        for block in layers.of("decoder"):
            rotary = getattr(block.attention, "rotary", None)
            if rotary is not None and hasattr(rotary, attribute):
                return getattr(rotary, attribute)
        raise Difference("no RotaryEmbedding")

    return show


def fields(wavelength, share=None, longest=None) -> tuple:
    """Returns the fields of rotary positions.

    Args:
        wavelength: float, the base where a config says none.
        share: float, how much of a head is rotated where a config does not say it; `None` for a type that rotates all of it.
        longest: int, the `max_position_embeddings` of a config that says none, for types that scale by it, or `None`.
    """
    lengths, more = (), ()
    if longest is not None:
        lengths = (
            Field("_longest", "max_position_embeddings", SIZE._replace(write=None), longest),
            Field("_original", "original_max_position_embeddings", SIZE._replace(write=None), None),
        )
    if share is not None:
        key = "rope_parameters.partial_rotary_factor|partial_rotary_factor"
        more = (Field("rotary_dim", key, _part, share, shown=_rotated),)
    key = "rope_parameters.rope_theta|rope_theta"
    wavelengths = Field("max_wavelength", key, POSITIVE, wavelength, shown=_first("max_wavelength"))
    # The object comes first: the others are written into it.
    scaling = Field("rotary_scaling", "rope_parameters|rope_scaling", _scaling, None, shown=_first("scaling"))
    return (*lengths, scaling, wavelengths, *more)


def lengths(arguments) -> dict:
    """Returns the lengths that a config has: no model knows how long its sequences may be, but scaled ones by how much."""
    scaling = arguments.get("rotary_scaling") or {}
    if scaling.get("type") != "longrope":
        return {"max_position_embeddings": 32768}
    original = scaling["original_max_position_embeddings"]
    return {
        "max_position_embeddings": round(scaling["factor"] * original),
        "original_max_position_embeddings": original,
    }


def head_size(found):
    """The size of a head beside the arguments that were found."""
    return found.get("key_dim") or found["hidden_dim"] // found["num_heads"]


def _scaling(found):
    def read(value):
        given = {key: each for key, each in value.items() if key not in _OTHERS}
        if given.get("rope_type", given.get("type")) == "longrope":
            # The lengths may stand beside the object, and the factor is that of the two.
            original = given.setdefault("original_max_position_embeddings", found.get("_original"))
            if original and "_longest" in found:
                given.setdefault("factor", found["_longest"] / original)
        scaling = read_scaling(given) if given else None
        return None if scaling is None or scaling["type"] == "default" else scaling

    def fits(value):
        try:
            return isinstance(value, dict) and (read(value) is None or True)
        except ValueError:
            return False

    def write(scaling):
        given = {"type": "default"} if scaling is None else dict(scaling)
        return {"rope_type": given.pop("type"), **given}

    return Kind(_RULE, fits, lambda value: None if value is None else read(value), write, null_is_absent=True)


def _part(found):
    size = head_size(found)

    def fits(share):
        return POSITIVE.fits(share) and share <= 1 and int(size * share) % 2 == 0 and int(size * share) > 0

    def read(share):
        return None if share == 1 else int(size * share)

    return Kind(
        "a share of a head that is an even number", fits, read, lambda part: 1.0 if part is None else part / size
    )


def _rotated(layers):
    rotary_dim = _first("rotary_dim")(layers)
    return None if rotary_dim == layers.shown("decoder.attention.head_dim") else rotary_dim
