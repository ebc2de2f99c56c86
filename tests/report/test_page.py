"""report.html without a browser: what is in it, and that all of it is text."""
import re
from html.parser import HTMLParser

import pytest

from lib.report.report import FILES
from tests.report.validations import COUNTS, EVIL, IMAGES, NAMES

VOID = {"meta", "link", "img", "br", "input", "rect", "path"}


class Page(HTMLParser):
    """Elements with their attributes, and the text of the page."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(content)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.open += [tag] if tag not in VOID else []

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if self.open and self.open[-1] not in ("style", "script") else ""

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(report):
    return Page(report["page"].read_text(encoding="utf-8"))


def test_nothing_of_a_name_is_more_than_text(page):
    assert len(page.all("script")) == 1
    assert all(attributes["src"].startswith("data:image/") for attributes in page.all("img"))
    assert not [attributes for _, attributes in page.elements if any(name.startswith("on") for name in attributes)]
    for text in (EVIL, NAMES[0], NAMES[1], NAMES[3], r"two\nlines\x1b[31m caf�", NAMES[5], "/data/<b>&'\""):
        assert text in page.text
    assert page.open == []


def test_the_file_needs_no_other_one(page):
    references = [attributes[key] for _, attributes in page.elements for key in ("src", "href", "action") if key in attributes]
    assert {re.split("[:,#]", reference)[0] for reference in references} == {"data", ""}
    policy, = (attributes["content"] for attributes in page.all("meta") if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_places_that_are_linked_to_are_there_once(page):
    places = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(places) == len(set(places))
    assert {attributes["href"][1:] for attributes in page.all("a")} <= set(places)


def test_who_cannot_see_it_can_read_it(page):
    assert page.all("html") == [{"lang": "en"}]
    assert all(attributes.get("alt") for attributes in page.all("img"))
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.all("th"))
    assert len(page.all("h1")) == len(page.all("main")) == 1
    assert len(page.all("caption")) == len(page.all("table"))


def test_summary_and_its_reservations(page):
    text = re.sub(r"\s+", " ", page.text)
    assert "95 % interval:" in text
    assert f"from {sum(IMAGES)} images of 7 classes" in text
    assert "1 class has no validation images and is not included in these means: no images." in text
    assert "1 image could not be read" in text
    assert "tau = 0.5" in text
    assert "This checkpoint was selected on the validation set" in text
    assert "This is not the run’s own report." in text
    assert "fewer than 20" in text
    assert "too few images to compare" in text
    assert "and 10 more, in data.txt" in text


def test_the_table_has_a_row_for_each_class(page):
    rows = [attributes for attributes in page.all("td") if attributes.get("class", "").startswith("text group")]
    assert sorted(int(attributes["data-value"]) for attributes in rows) == sorted(COUNTS)
    assert sum(attributes.get("class") == "none" for attributes in page.all("span")) == 1


def test_settings_that_differ_come_first(page):
    assert page.text.index("Changed settings") < page.text.index("1 setting with the default value")


def test_files_that_are_written_are_those_that_are_told(report):
    folder = report["page"].parent
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == set(FILES.values())
    assert {key: path.relative_to(folder).as_posix() for key, path in report.items()} == FILES
