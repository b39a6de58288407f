"""A model that knows nothing, at fifty words a second. Put your own here."""

import time
import typing as t

LINES = (
    "You asked: “{question}”",
    "I am not a model. I only count the words that I say, one after the other, so that you "
    "can see that none is missing and none comes twice.",
    "Reload this page while I speak: I begin where I am, because it was the server that "
    "made this answer, and the page has only read it.",
    "Open the page on a second device, or close it and come later. You can stop me on any "
    "of them, and I stop on all.",
    "If the server is started again, my words so far are kept, and the page says that the "
    "rest is lost. Then you can ask again.",
)


def model(question: str) -> t.Iterator[str]:
    """The words of an answer."""
    words = "\n\n".join(LINES).format(question=question).split(" ")
    for count, word in enumerate(words, 1):
        time.sleep(0.02)
        yield f"{word} "
        if count == 40 and "fail" in question.lower():
            raise RuntimeError("The model was asked to fail.")
    yield f"\n\nThese were {len(words)} words."
