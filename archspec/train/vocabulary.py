"""The vocabulary of the built-in data: 256 bytes, 16 specials, then reserved entity tokens."""

from __future__ import annotations

from archspec.errors import DataError

NUM_BYTES = 256
NUM_SPECIALS = 16
BOS, EOS, PAD = range(NUM_BYTES, NUM_BYTES + 3)  # the other specials are free for later tasks
FIRST_ENTITY = NUM_BYTES + NUM_SPECIALS


def check_vocabulary(vocab_size: int, *, num_entities: int, what: str) -> None:
    """Check that a model has a token for everything that the data writes.

    Args:
        vocab_size: Of the model.
        num_entities: Entity tokens that the data needs.
        what: What they are needed for, and what to lower, for the message.

    Raises:
        DataError: The vocabulary is too small.
    """
    needed = FIRST_ENTITY + num_entities
    if vocab_size < needed:
        entities = f" and {num_entities} entity tokens ({what})" if num_entities else ""
        raise DataError(
            f"vocab_size >= {needed} must hold, for {NUM_BYTES} bytes, {NUM_SPECIALS} special "
            f"tokens{entities}, but the model has vocab_size={vocab_size}; raise it to {needed}"
            + (" or lower these counts in the train document" if num_entities else "")
        )
