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

ANSWER = "\N{INVISIBLE SEPARATOR}answer\N{INVISIBLE SEPARATOR}"  # stands for an answer that the cache holds
# What is answered with its own message alone.
REFUSALS = (FileNotFoundError, ImportError, ValueError)


class Chat:
    """A conversation in the cache of a session.

    Args:
        model: `keras.Model` of token ids.
        tokenizer: of `load_tokenizer(..., add_special_tokens=False)`, from a folder or a file with a template of chats.
        context: int, the most tokens that the conversation has.
        max_new_tokens: int, the most tokens of an answer.
        system: str, what the model is told first, or `None` for what the template says.
        sampler: as in `stream`.
        seed: int; each turn has another.

    Attributes:
        turns: list of (what was asked, what was answered), without those that were left out.
        left_out: int, how many turns were left out for the last answer.
        read: int, how many tokens the model has read for the last answer.
    """

    def __init__(self, model, tokenizer, context=1024, max_new_tokens=256, system=None, sampler=None, seed=0):
        from keras_tx import decoding

        if tokenizer.vocabulary_size() > model.output_shape[-1]:
            raise ValueError(
                "The tokenizer must have no more tokens than the model. Received: "
                f"{tokenizer.vocabulary_size()} tokens, and logits of {model.output_shape[-1]}."
            )
        self.session = decoding.Session(model, max_length=context)
        self.tokenizer, self.max_new_tokens, self.sampler, self.seed = tokenizer, max_new_tokens, sampler, seed
        self.system = [] if system is None else [{"role": "system", "content": system}]
        self.turns, self.left_out, self.read = [], 0, 0
        # Tokens that the model has seen, but its cache has not: those of a turn that was interrupted.
        self._unread = []

    def answer(self, text):
        """Returns a generator of the pieces of the answer; one that is stopped early leaves the answer as far as it came.

        Raises:
            ValueError: if the text alone is too long for the context.
        """
        ids, self.left_out = self._ids(text)
        self.read = len(ids)
        return self._pieces(text, ids)

    def _pieces(self, text, ids):
        from keras_tx.decoding.text import text_pieces

        before, made, pieces = self.session.turns, [], []
        try:
            for piece in text_pieces(self._stream(ids, made), self.tokenizer):
                pieces.append(piece)
                yield piece
        finally:
            self._unread = ids + made if self.session.turns is before else []
            self.turns.append((text, "".join(pieces)))

    def _stream(self, ids, made):
        """Yields the tokens of an answer but its stop, and keeps all of them in `made`."""
        from keras_tx import decoding

        stops, seed = self.tokenizer.stop_ids, self.seed + len(self.turns)
        for piece in decoding.stream(self.session, ids, self.max_new_tokens, self.sampler, stops, seed):
            made.extend(piece)
            yield [token for token in piece if token not in stops]

    def _ids(self, text):
        """Returns what the model has to read before it answers, and how many turns were left out to make room."""
        session = self.session
        room = session.max_length - self.max_new_tokens
        ids = self._unread + self._next(text)
        if session.num_tokens + len(ids) <= room:
            return ids, 0
        for left_out in range(len(self.turns) + 1):
            kept = self.turns[left_out:]
            ids = self._tokens(self._messages(*kept, (text, None)))
            # Half of the context is made free, so that this is not done again at once.
            if len(ids) <= (room // 2 if kept else room):
                break
        else:
            raise ValueError(
                f"A text must leave room for an answer: {room} of the {session.max_length} tokens of the context are "
                f"free for it. Received: a text that makes {len(ids)}. Shorten it, or start with a larger --context."
            )
        session.reset()
        self.turns = kept
        return ids, left_out

    def _next(self, text):
        """Returns the tokens between the end of what the model has seen and its next answer."""
        seen = self._unread or self.session.ids
        if not seen:
            return self._tokens(self._messages((text, None)))
        prompt = self.tokenizer.chat_prompt(self._messages(("-", ANSWER), (text, None)))
        ids = self.tokenizer.tokenize(prompt.partition(ANSWER)[2]).tolist()
        return ids[1:] if ids[0] == seen[-1] and seen[-1] in self.tokenizer.stop_ids else ids

    def _messages(self, *turns):
        messages = list(self.system)
        for asked, answered in turns:
            messages.append({"role": "user", "content": asked})
            if answered is not None:
                messages.append({"role": "assistant", "content": answered})
        return messages

    def _tokens(self, messages):
        return self.tokenizer.tokenize(self.tokenizer.chat_prompt(messages)).tolist()

    def compile(self):
        """Compiles the programs of a turn, by one that is forgotten."""
        from keras_tx import decoding

        list(decoding.stream(self.session, self._tokens(self._messages(("Hello", None)))[-1:], 1, self.sampler))
        self.session.reset()


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
