"""The HTML page: whole, self-contained, worst seams first, any number of bags."""

import dataclasses
import re
from html.parser import HTMLParser

import pytest
from bag_maker import TYPES, messages_of, write_bag

from rtc_ros.core.continuity import RunLog
from rtc_ros.report.examine import examined
from rtc_ros.report.example_run import ExampleSettings, example_run
from rtc_ros.report.page import html_page
from rtc_ros.tools.continuity import main

SHORT = ExampleSettings(ticks=200)
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Collects headings and what an element would load; fails on a wrong nesting."""

    def __init__(self, text):
        super().__init__()
        self.open, self.headings, self.loads, self.text = [], [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.loads += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action")]
        if tag in ("h2", "h3"):
            self.headings.append("")
        if tag not in VOID and tag not in ("li", "td", "th", "tr", "p"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.loads += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action")]

    def handle_endtag(self, tag):
        if tag not in ("li", "td", "th", "tr", "p"):
            assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] in ("h2", "h3"):
            self.headings[-1] += data


@pytest.fixture(scope="module")
def guided():
    return examined("guided", example_run(SHORT))


def test_the_page_loads_nothing_and_is_the_same_each_time(guided):
    text = html_page([guided])
    page = Page(text)
    assert page.loads, "there are figures"
    assert all(x.startswith(("data:image/png;base64,", "#")) for x in page.loads)
    assert "<script" not in text
    assert not re.search(r"url\((?!#)", text)
    assert html_page([examined("guided", example_run(SHORT))]) == text


def test_overview_first_then_the_worst_seams_in_turn(guided):
    headings = Page(html_page([guided])).headings
    places = [headings.index(h) for h in ("Overview", "Joints", "The worst seams", "Sections")]
    assert places == sorted(places)
    shown = [h for h in headings if re.match(r"\d+\. step", h)]
    worst = sorted((s.excess_ratio for s in guided.report.seams), reverse=True)
    sizes = [float(re.search(r"([\d.]+) ordinary", h).group(1)) for h in shown]
    assert sizes == pytest.approx(worst[: len(shown)], abs=0.006)
    assert len(shown) == min(12, len(worst))


def test_two_bags_side_by_side_with_their_own_verdicts(tmp_path):
    settings = ['{"beta": 7.5, "s_min": 11}', "not JSON"]
    bags = []
    for name, guided, text in (("one", True, settings[0]), ("two", False, settings[1])):
        messages = list(messages_of(example_run(dataclasses.replace(SHORT, guided=guided))))
        messages.insert(3, ("/rtc_inference/settings", 10**18, TYPES["std_msgs/msg/String"](text)))
        bags.append(write_bag(tmp_path / name, messages))
    assert main([*map(str, bags), "--html", str(tmp_path / "r.html"), "--quiet"]) == 1
    text = (tmp_path / "r.html").read_text()
    page = Page(text)
    said = " ".join(page.text)
    assert page.headings.count("one") == page.headings.count("two") == 7
    assert "PASS" in said and "FAIL" in said
    assert '"beta": 7.5' in said
    assert "1 swap, chunk or settings messages aren't in the known form" in said
    assert "The recording holds no settings" in said


@pytest.mark.parametrize("count", [0, 2, 30])
def test_any_recording_gives_a_page(count):
    log = example_run(SHORT).commands
    p = log.provenance
    part = dataclasses.replace(
        log,
        stamp_ns=log.stamp_ns[:count],
        command=log.command[:count],
        wanted=log.wanted[:count],
        reason=log.reason[:count],
        provenance=type(p)(*(getattr(p, n)[:count] for n in p.names())),
    )
    for run in (RunLog(part), RunLog(dataclasses.replace(part, provenance=None, wanted=None))):
        page = Page(html_page([examined("<b>&", run)]))
        assert "NOT JUDGED" in " ".join(page.text)
        assert "<b>&" in " ".join(page.text), "names are text, not markup"


def test_a_page_that_cannot_be_written(tmp_path, capsys):
    bag = write_bag(tmp_path / "bag", messages_of(example_run(SHORT)))
    assert main([str(bag), "--html", str(tmp_path / "no" / "r.html")]) == 2
    assert "can't write" in capsys.readouterr().err
