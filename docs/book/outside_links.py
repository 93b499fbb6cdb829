"""mdBook preprocessor: links that lead out of docs/.

With `repository` in book.toml, such a link becomes one to the file there. Without it, the path is shown behind the
text of the link, as the book does not hold the file.
"""

import json
import posixpath
import re
import sys

LINK = re.compile(r"\[(?P<text>[^\[\]]+)\]\((?P<target>\.\./[^)#]*)(?P<anchor>#[^)]*)?\)")


def outside(target, folder):
    """The path from the root of the repository, or None for a file of the book."""
    path = posixpath.normpath(posixpath.join("docs", folder, target))
    return None if path.startswith("docs/") else path


def rewritten(text, folder, repository):
    """The text with its links rewritten, blocks of code left as they are."""

    def link(found):
        path = outside(found["target"], folder)
        if path is None:
            return found[0]
        if repository:
            return f"[{found['text']}]({repository.rstrip('/')}/{path}{found['anchor'] or ''})"
        return found["text"] if path in found["text"] else f"{found['text']} (`{path}`)"

    parts = re.split(r"(^```.*?^```)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else LINK.sub(link, part) for part in parts)


def chapters(node):
    """Every chapter below a node of the book."""
    if isinstance(node, list):
        for each in node:
            yield from chapters(each)
    elif isinstance(node, dict):
        if isinstance(node.get("content"), str):
            yield node
        for each in node.values():
            yield from chapters(each)


def main():
    if sys.argv[1:2] == ["supports"]:
        return
    context, book = json.load(sys.stdin)
    settings = context["config"].get("preprocessor", {}).get("outside-links", {})
    for chapter in chapters(book):
        folder = posixpath.dirname(chapter.get("path") or "")
        chapter["content"] = rewritten(chapter["content"], folder, settings.get("repository"))
    json.dump(book, sys.stdout)


main()
