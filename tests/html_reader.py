"What a page of HTML opens, closes and wants."
from html.parser import HTMLParser


class Reader(HTMLParser):
    "A page that was read from its first tag to its last."
    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.alts, self.wants = [], set(), [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        attrs = dict(attrs)
        self.wants += [attrs[a] for a in ("src", "href") if a in attrs]
        if tag == "img":
            self.alts.append(attrs.get("alt"))
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
