"""A conversation with a language model, kept in the cache of a session."""

ANSWER = "\N{INVISIBLE SEPARATOR}answer\N{INVISIBLE SEPARATOR}"  # stands for an answer that the cache holds


class Chat:
    """A conversation of which each turn reads its own tokens alone.

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
