"""Chats as prompts: the template of a folder, in a sandbox that ends."""

import json

_LIMIT = 100_000  # rounds of loops and calls; characters of a text that the template makes


def rendered(template, messages, tokens, add_generation_prompt):
    """Returns the prompt that a template makes of a chat, as `transformers` renders it.

    Args:
        template: str, in the language of Jinja.
        messages: list of dicts with "role" and "content", both str.
        tokens: dict of the special tokens that the template may name, such as "bos_token".
        add_generation_prompt: bool, whether the answer is begun.

    Raises:
        ImportError: if `jinja2` is not installed.
        ValueError: for messages that are no chat, and for a template that fails, or does what it may not.
    """
    try:
        import jinja2
    except ImportError:
        raise ImportError("A chat template needs the package jinja2: pip install jinja2.") from None
    _check(messages)
    try:
        return _compiled(jinja2, template).render(
            messages=[dict(message) for message in messages], add_generation_prompt=add_generation_prompt, **tokens
        )
    except (
        jinja2.TemplateError,
        ArithmeticError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        raise ValueError(
            f"A chat must be one that the folder's template takes. Received: messages={messages!r}; the template fails: "
            f"{error}."
        ) from None


def _check(messages):
    right = isinstance(messages, (list, tuple)) and all(
        isinstance(message, dict) and all(isinstance(message.get(key), str) for key in ("role", "content"))
        for message in messages
    )
    if not right or not any(message["role"] == "user" for message in messages):
        raise ValueError(
            '`messages` must be a list of dicts with strings "role" and "content", one of them of the role "user". '
            f"Received: messages={messages!r}."
        )


def _compiled(jinja2, template):
    from jinja2 import nodes, sandbox

    done = [0]

    def count():
        done[0] += 1
        if done[0] > _LIMIT:
            raise ValueError(f"it does more than {_LIMIT} rounds of loops and calls")

    def counted(values):
        for value in values:
            count()
            yield value

    def short(text):
        if isinstance(text, str) and len(text) > 10 * _LIMIT:
            raise ValueError(f"it makes a text of more than {10 * _LIMIT} characters")
        return text

    class Sandbox(sandbox.ImmutableSandboxedEnvironment):
        """Transformers' environment; loops, calls and texts that it makes have a limit."""

        intercepted_binops = frozenset(["+", "*", "**", "%"])

        def call(self, context, what, *args, **kwargs):
            count()
            return super().call(context, what, *args, **kwargs)

        def call_binop(self, context, operator, left, right):
            numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
            if operator in ("*", "**") and not (numbers and max(abs(left), abs(right)) < _LIMIT and operator == "*"):
                raise ValueError(f"it computes {operator!r} of something else than small numbers")
            if operator == "%" and not numbers:
                raise ValueError("it formats a text by '%'")
            return short(super().call_binop(context, operator, left, right))

    def fail(message):
        raise jinja2.TemplateError(message)

    def as_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    for name in ("center", "format", "filesizeformat", "wordwrap", "indent"):
        environment.filters.pop(name, None)
    environment.filters |= {"tojson": as_json, "_counted": counted, "_short": short}
    environment.globals["raise_exception"] = fail
    tree = environment.parse(template)
    for loop in tree.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None)
    for node in list(tree.find_all(nodes.Concat)):
        node.nodes = [nodes.Filter(each, "_short", [], [], None, None) for each in node.nodes]
    tree.set_environment(environment)
    return jinja2.Template.from_code(environment, environment.compile(tree), environment.make_globals(None))
