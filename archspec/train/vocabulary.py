"""The vocabulary of the built-in data: 256 bytes, 16 specials, then reserved entity tokens.

The specials hold what every task may use beside its entities: words to word facts in, a mark, and
noise. Entity tokens are shared: each task numbers its own from the first.
"""

from __future__ import annotations

from archspec.errors import DataError

NUM_BYTES = 256
NUM_SPECIALS = 16
BOS, EOS, PAD, ANSWER = range(NUM_BYTES, NUM_BYTES + 4)  # ANSWER: from here on, answers follow
WORDS = {
    word: NUM_BYTES + 4 + index
    for index, word in enumerate(("the", "of", "is", "what", "has", "?"))
}
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
