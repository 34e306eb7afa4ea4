"""A preprocessor of mdBook: turns links to files outside of docs into links to the repository."""

import json
import posixpath
import re
import sys

LINK = re.compile(r"\]\(([^)\s]+)\)")


def rewrite(page, repository):
    folder = posixpath.dirname(posixpath.join("docs", page["path"] or ""))

    def target(link):
        path = posixpath.normpath(posixpath.join(folder, link[1]))
        if ":" in link[1] or link[1].startswith("#") or path.startswith("docs/") or path == "docs":
            return link[0]
        return f"]({repository}/blob/main/{path})"

    page["content"] = LINK.sub(target, page["content"])
    for item in page["sub_items"]:
        if "Chapter" in item:
            rewrite(item["Chapter"], repository)


def main():
    if sys.argv[1:2] == ["supports"]:
        return
    context, book = json.load(sys.stdin)
    repository = context["config"]["output"]["html"]["git-repository-url"]
    for item in book["items"]:
        if "Chapter" in item:
            rewrite(item["Chapter"], repository)
    json.dump(book, sys.stdout)


main()
