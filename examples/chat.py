"""Talks with SmolLM2, a language model of 135 million parameters, in the terminal.

    make chat                                              # installs the model, 93 MB, and begins
    python examples/chat.py --prompt "What is a verb?"     # one answer
    python examples/chat.py --model FILE_OR_FOLDER         # another model: a GGUF file, or a folder of Hugging Face

What was said stays in the cache of a session, so that each turn reads its own tokens alone. Ctrl-C stops an answer, which
stays as far as it came; Ctrl-D ends. When the context is full the oldest turns are left out, and the rest is read again.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from conversation import Chat

# What is answered with its own message alone.
REFUSALS = (FileNotFoundError, ImportError, ValueError)


def load(path=None):
    """Returns the model and the tokenizer of a GGUF file or a folder of Hugging Face; `None` for SmolLM2's."""
    import smollm2

    path = smollm2.path() if path is None else Path(path)
    from keras_tx.applications import load_gguf, load_huggingface, load_tokenizer

    model = load_huggingface(path) if path.is_dir() else load_gguf(path)
    return model, load_tokenizer(path, add_special_tokens=False)


@contextlib.contextmanager
def told(what):
    """Says on the standard error what takes its time, and how long it took; backends say what they have to only if it fails."""
    started = time.perf_counter()
    print(f"{what} ... ", end="", file=sys.stderr, flush=True)
    with tempfile.TemporaryFile() as log:
        terminal = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield
        except (*REFUSALS, KeyboardInterrupt):
            os.write(terminal, b"\n")
            raise
        except BaseException:
            log.seek(0)
            os.write(terminal, b"\n" + log.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


def say(chat, text, verbose=False):
    """Prints the answer to a text as it is made; Ctrl-C stops it."""
    try:
        pieces = chat.answer(text)
    except ValueError as error:
        print(error, file=sys.stderr)
        return False
    if chat.left_out:
        print(f"[The context is full: the oldest {chat.left_out} turns are left out.]", file=sys.stderr)
    with contextlib.closing(pieces):
        try:
            for piece in pieces:
                print(piece, end="", flush=True)
            print()
        except KeyboardInterrupt:
            print(" [stopped]")
    if verbose:
        session = chat.session
        print(f"[{chat.read} tokens read; {session.num_tokens} of {session.max_length} in use]", file=sys.stderr)
    return True


def talk(chat, verbose=False):
    """Asks and answers until the input ends."""
    while True:
        try:
            text = input("> ").strip()
        except KeyboardInterrupt:
            print("\n[Ctrl-D ends]", file=sys.stderr)
            continue
        except EOFError:
            print()
            return
        if text:
            say(chat, text, verbose)


def main():
    """Loads the model, compiles, and answers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prompt", help="answer this and end")
    parser.add_argument("--model", help="a GGUF file or a folder of Hugging Face, with a template of chats")
    parser.add_argument("--system", help="what the model is told first")
    parser.add_argument("--context", type=int, default=1024, help="the most tokens of a conversation")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="the most tokens of an answer")
    parser.add_argument(
        "--temperature", type=float, default=0.0, help="0, as it is, for the likeliest token at each step"
    )
    parser.add_argument(
        "--repetition-penalty", type=float, default=1.1, help="1 for none; small models repeat themselves"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="say how many tokens each turn reads")
    options = parser.parse_args()
    if options.max_new_tokens >= options.context:
        parser.error(
            f"--max-new-tokens must be less than --context. Received: {options.max_new_tokens}, {options.context}."
        )
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 lines are edited, and earlier ones come back
    try:
        with told("Reading the model"):
            model, tokenizer = load(options.model)
            from keras_tx import decoding

            sampler = decoding.Sample(
                options.temperature,
                top_p=0.9 if options.temperature else None,
                repetition_penalty=options.repetition_penalty,
            )
            chat = Chat(
                model, tokenizer, options.context, options.max_new_tokens, options.system, sampler, options.seed
            )
        with told("Compiling, once a start; half a minute or more"):
            chat.compile()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except REFUSALS as error:
        raise SystemExit(str(error)) from None
    if options.prompt is not None:
        raise SystemExit(0 if say(chat, options.prompt, options.verbose) else 1)
    print("Ctrl-C stops an answer, Ctrl-D ends.", file=sys.stderr)
    talk(chat, options.verbose)


if __name__ == "__main__":
    main()
