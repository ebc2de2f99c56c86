"""Chromium without a window, told what to do through two pipes by the Chrome DevTools Protocol."""
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-dev-shm-usage", "--disable-extensions", "--hide-scrollbars", "--remote-debugging-pipe")
PATIENCE = 60   # seconds for an answer


def find_browser() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """A browser with one page.

    Attributes:
        requests: addresses that the page has asked for.
        complaints: what it has written to its console, errors and violations of its policy among it.
    """

    def __init__(self) -> None:
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs, self.to_browser = (high(end) for end in os.pipe())
        self.from_browser, answers = (high(end) for end in os.pipe())
        command = f'exec "$@" 3<&{theirs} 4>&{answers}'
        self.process = subprocess.Popen(
            ["bash", "-c", command, "bash", find_browser(), *FLAGS, f"--user-data-dir={self.profile.name}", "about:blank"],
            pass_fds=(theirs, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs)
        os.close(answers)
        self.number, self.buffer, self.session = 0, b"", None
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.events: list[str] = []
        target = next(found for found in self.call("Target.getTargets")["targetInfos"] if found["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.to_browser)
        os.close(self.from_browser)
        self.profile.cleanup()

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        self.number += 1
        message = {"id": self.number, "method": method, "params": arguments}
        os.write(self.to_browser, json.dumps(message | ({"sessionId": self.session} if self.session else {})).encode() + b"\0")
        while True:
            answer = self.next_message()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]

    def next_message(self) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            assert select.select([self.from_browser], [], [], PATIENCE)[0], "the browser does not answer"
            part = os.read(self.from_browser, 2**20)
            assert part, "the browser is gone"
            self.buffer += part
        message, _, self.buffer = self.buffer.partition(b"\0")
        answer = json.loads(message)
        self.note(answer.get("method", ""), answer.get("params", {}))
        return answer

    def note(self, event: str, values: dict[str, Any]) -> None:
        self.events.append(event)
        if event == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])
        elif event == "Runtime.consoleAPICalled":
            self.complaints.append(str([argument.get("value") for argument in values["args"]]))
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(values["exceptionDetails"]["text"])
        elif event == "Log.entryAdded":
            self.complaints.append(values["entry"]["text"])

    def open(self, path: Path, width: int = 1280, height: int = 900, fragment: str = "") -> None:
        """Shows a file, and waits until it is complete."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.load("about:blank")   # from a page to a place in it nothing would be loaded
        self.load(path.as_uri() + fragment)

    def load(self, address: str) -> None:
        for notes in (self.requests, self.complaints, self.events):
            notes.clear()
        self.call("Page.navigate", url=address)
        while "Page.loadEventFired" not in self.events:
            self.next_message()

    def run(self, script: str) -> Any:
        """The value of an expression in the page, or what it promises."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")


def high(end: int) -> int:
    """The same end of a pipe under a number that is neither 3 nor 4."""
    other = fcntl.fcntl(end, fcntl.F_DUPFD, 20)
    os.close(end)
    return other
