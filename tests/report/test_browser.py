"""report.html in Chromium, as a user sees it: complete, without a network, sorted, searched, enlarged, narrow and dark."""
import pytest

from tests.report.browser import Browser
from tests.report.validations import COUNTS, EVIL, NAMES

CELLS = ("[...document.querySelectorAll('#classes tbody tr')].filter(row => !row.hidden)"
         ".map(row => row.cells[%d].innerText.trim())")
CLICK = "document.querySelectorAll('#classes th button')[%d].click()"


@pytest.fixture(scope="module")
def page(report):
    return report["page"]


@pytest.fixture(scope="module")
def browser():
    with Browser() as found:
        yield found


@pytest.fixture
def shown(browser, page):
    browser.open(page)
    yield browser
    assert browser.complaints == []   # neither of errors, nor of what its policy forbids
    assert [request for request in browser.requests if not request.startswith("data:")] == [page.as_uri()]


def test_it_is_complete_and_all_text_is_text(shown):
    assert shown.run("document.title").startswith(f"{EVIL}: balanced accuracy")
    assert NAMES[0] in shown.run(CELLS % 0)
    assert shown.run("document.scripts.length") == 1
    shown.run("document.querySelectorAll('img').forEach(image => { image.loading = 'eager'; })")
    assert shown.run("Promise.all([...document.images].map(image => image.decode())).then(images => images.length)") > 30


def test_the_table_is_sorted_by_a_click(shown):
    def recalls():
        return [float(text.rstrip("\xa0%")) if text != "–" else None for text in shown.run(CELLS % 1)]

    assert shown.run(CELLS % 4) == [str(count) for count in sorted(COUNTS, reverse=True)]   # from frequent to rare
    shown.run(CLICK % 1)
    *known, last = recalls()
    assert (known, last) == (sorted(known), None)   # a class without images has no recall, and is not the worst
    assert shown.run("document.querySelector('#classes th[aria-sort]').cellIndex") == 1
    shown.run(CLICK % 1)
    *known, last = recalls()
    assert (known, last) == (sorted(known, reverse=True), None)
    shown.run(CLICK % 4)
    assert shown.run(CELLS % 4) == [str(count) for count in sorted(COUNTS, reverse=True)]


def test_classes_are_found_by_a_part_of_their_name(shown):
    shown.run("const field = document.querySelector('#filter input'); field.value = ' 日本 '; "
              "field.dispatchEvent(new Event('input'))")
    assert shown.run(CELLS % 0) == [NAMES[3]]
    assert shown.run("document.querySelector('#filter output').textContent") == "1 found"


def test_a_picture_grows_by_a_click_and_closes(shown):
    width = "document.querySelector('#mistakes .pictures img').getBoundingClientRect().width"
    before = shown.run(width)
    shown.run("document.querySelector('#mistakes .pictures a.frame').click()")
    assert shown.run("document.querySelector('figure:target .close').checkVisibility()")
    assert "/data/" in shown.run("document.querySelector('figure:target figcaption').innerText")
    assert shown.run(width) > 3 * before
    shown.run("document.querySelector('figure:target .close').click()")
    assert shown.run("document.querySelector('figure:target')") is None
    assert shown.run(width) == before


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_window(browser, page, width):
    browser.open(page, width=width)
    assert browser.run("document.documentElement.scrollWidth") <= width


def test_it_is_dark_where_that_is_asked_for_and_light_on_paper(browser, page):
    ground = "getComputedStyle(document.body).backgroundColor"
    scheme = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.call("Emulation.setEmulatedMedia", features=scheme)
    browser.open(page)
    assert browser.run(ground) == "rgb(20, 23, 27)"
    browser.call("Emulation.setEmulatedMedia", media="print", features=scheme)
    assert browser.run(ground) == "rgb(255, 255, 255)"
    browser.call("Emulation.setEmulatedMedia", media="", features=[])
    assert browser.run(ground) == "rgb(255, 255, 255)"


def test_without_scripts_the_table_is_there(browser, page):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(page)
    document = browser.call("DOM.getDocument")["root"]["nodeId"]
    rows = browser.call("DOM.querySelectorAll", nodeId=document, selector="#classes tbody tr")["nodeIds"]
    buttons = browser.call("DOM.querySelectorAll", nodeId=document, selector="#classes th button")["nodeIds"]
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert (len(rows), len(buttons)) == (len(NAMES), 0)
