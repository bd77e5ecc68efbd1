"""How our docstrings and packages read to griffe, which makes the reference of them."""

import re

import griffe

# A section that says one thing, as a paragraph: griffe would make a list of one, or a box.
PROSE = re.compile(r"^(Returns|Yields|Reference):\n((?:    .*\n?|\n(?=    ))+)", re.MULTILINE)


class Sections(griffe.Extension):
    """Makes a list of the arguments of a call, and headings over paragraphs."""

    def on_instance(self, *, obj, **kwargs):
        """Rewrites the sections that griffe does not know, or knows in another form."""
        if obj.docstring is None:
            return
        text = re.sub(r"^Call arguments:$", "Other Args: Call arguments:", obj.docstring.value, flags=re.MULTILINE)
        text = re.sub(r"^Example:$", "**Example:**", text, flags=re.MULTILINE)
        obj.docstring.value = PROSE.sub(lambda hit: f"**{hit[1]}:**\n\n{_dedented(hit[2])}", text)


class FunctionsBeforeModules(griffe.Extension):
    """Finds what a package exports under the name of the module that defines it, where griffe would find the module."""

    def on_package(self, *, pkg, **kwargs):
        """Puts the function in the module's place, as the import in the package does."""
        waiting = [pkg]
        while waiting:
            package = waiting.pop()
            for name, module in list(package.members.items()):
                if module.is_alias or not module.is_module:
                    continue
                waiting.append(module)
                if name in map(str, package.exports or ()) and name in module.members:
                    package.members[name] = griffe.Alias(name, module.members[name], parent=package)


def _dedented(block):
    return re.sub(r"^    ", "", block, flags=re.MULTILINE)
