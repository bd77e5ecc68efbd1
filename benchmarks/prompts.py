"""Prompts for a language model that follows instructions: three whose answers repeat them, one whose answer does not."""

CODE = """def mean(values):
    total = 0
    for value in values:
        total = total + value
    return total / len(values)


def variance(values):
    center = mean(values)
    total = 0
    for value in values:
        total = total + (value - center) ** 2
    return total / len(values)
"""
LETTER = (
    "Dear Mr. Brown, thank you for your letter of the third of May about the delivery of the new printer. The printer was sent "
    "on Monday and should have come to your office by Thursday. If it has not come by Friday, please call our office in Leeds "
    "and ask for Susan, who will send you another printer on the same day. We are sorry for the trouble. Yours, John Miller"
)
ARTICLE = (
    "The lighthouse at Bell Rock was built between 1807 and 1810. Robert Stevenson was its engineer. The rock lies eleven miles "
    "off the coast and is covered by the sea at high tide, so the men could work for only a few hours each day. The first winter "
    "destroyed much of what had been built. The tower is thirty-five metres high, and its lamps were first lit on 1 February "
    "1811. The masonry was so good that it has not been replaced since."
)
PROMPTS = {
    "edit": f"Copy this letter word for word, but write Mrs. Green in place of Mr. Brown.\n\n{LETTER}",
    "code": f"Write this code again with the variable total renamed to result.\n\n```python\n{CODE}```",
    "quote": f"Which sentences of this text say when something happened? Quote each of them in full.\n\n{ARTICLE}",
    "free": "Tell me a story about a fisherman who finds a bottle.",
}
