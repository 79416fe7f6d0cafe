"""Drill 6: somebody else's model. Its words stand in `words/drill_6.md`."""

import ipaddress
import json
import time
from typing import ClassVar

import numpy as np

from course_lib.drills.evidence import NotShown, Unwell, number
from course_lib.drills.frame import Drill
from course_lib.drills.programs import audit
from course_lib.drills.programs.company import FILE, Company, write
from course_lib.ops import leash
from course_lib.ops.http import answers
from course_lib.pipeline import checksum

COPY = "elsewhere/audit.jsonl"


class TheDrill(Drill):
    number = 6
    title = "Somebody else's model"
    faults: ClassVar = ("leaked_key", "changed_file", "extraction", "hole")
    begun: ClassVar = 160
    """How many lines the audit log has when the learner is paged."""
    watched_s: ClassVar = 6.0
    """How long `examine` watches the customers."""

    def build(self, fault: str) -> None:
        where, self.own = self.folder, Company(self.folder, self.random, fault)
        options = ["--models", where / "models", "--reload-seconds", 1, *self.own.trusts]
        server = self.service("model", "course_lib.serving", *options)
        self.model = f"{server.url}/v1/models/digits_cnn/labels/production:predict"
        files = {"--keys": "keys.txt", "--limits": "limits.json", "--audit": "audit.jsonl", "--copy": COPY}
        options = [word for name, file in files.items() for word in (name, where / file)]
        self.url = self.service("door", "course_lib.drills.programs.door", "--predict", self.model, *options).url
        self._call()
        self._until(self.begun)
        rows = self.rows(COPY)
        self.anchor = {"rows": len(rows), "hash": rows[-1]["hash"]}
        write(where / "elsewhere/anchor.json", self.anchor)
        if fault == "hole":
            leash.end(self.unseen)  # nobody calls meanwhile: a line that is written then would be lost
            time.sleep(0.5)
            rows = self.own.tampered(self.rows())
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (where / "audit.jsonl").write_text(text, encoding="utf-8", newline="\n")
            self._call()
            self._until(len(rows) + 20)

    def alert(self) -> str:
        last = self.log("customers")[-60:]
        failed = sum(line["status"] != 200 for line in last)
        return (f"At 02:40 a message came that nobody signed: “I was in your digits service tonight.” It says no more. Of "
                f"the customers' last {len(last)} requests, {failed} failed, and no alert is on.")  # fmt: skip

    # What the learner has beside the frame

    def rows(self, name: str = "audit.jsonl") -> list[dict]:
        """The lines of an audit log in the drill's folder as dictionaries, the oldest first."""
        return audit.read(self.folder / name)

    # The evidence

    def proves_leaked_key(self, request_id: str, customer: str, address: str) -> None:
        """
        request_id: of a request that the customer did not send
        customer: whose key it came with
        address: where it came from
        """
        found = [row for row in self.rows() if row.get("request_id") == request_id]
        if not found:
            raise NotShown("The audit log has no line with this request id.")
        row = found[-1]
        if not row["customer"]:
            raise NotShown("Nobody was let in by this request: it came without a customer's key, and was refused.")
        if (str(customer), str(address)) != (row["customer"], row["address"]):
            raise NotShown("The reading does not agree with the system: this line has another customer or address.")
        place = ipaddress.ip_address(row["address"])
        if place.is_loopback:
            raise NotShown("This request came from this machine: it is one of yours.")
        if any(place in ipaddress.ip_network(each) for each in self.own.networks[row["customer"]]):
            raise NotShown("This address lies in a network of this customer: the request is the customer's own.")

    def proves_changed_file(self, served: str, built: str) -> None:
        """
        served: the SHA-256 of the file that answers the customers, as it lies there now
        built: the SHA-256 that the builder has for it
        """
        there = checksum(self.folder / "models" / FILE)
        for what, said, found in (("the file that answers", served, there), ("the builder's", built, self.own.built)):
            if str(said).strip().lower() != found:
                raise NotShown(f"The reading does not agree with the system: {what} has another SHA-256. It wants all 64 "
                               "digits.")  # fmt: skip
        if there == self.own.built:
            raise NotShown("Both are the same: the file that answers is the file that the builder made.")

    def proves_extraction(self, customer: str, per_minute: float, unsure: float) -> None:
        """
        customer: who does it
        per_minute: how many requests a minute this customer sends
        unsure: the share of its answers of which the model is less than 90 % sure
        """
        rows = [row for row in self.rows() if row.get("customer") == str(customer)]
        if len(rows) < 5 or str(customer) not in self.own.contracts:
            raise NotShown("The audit log has no such customer.")
        rate = 60 * (len(rows) - 1) / (rows[-1]["time"] - rows[0]["time"])
        share = float(np.mean([row["sure"] < 0.9 for row in rows if "sure" in row]))
        _near("the number of requests a minute", per_minute, rate, 0.35 * rate)
        _near("the share of unsure answers", unsure, share, 0.05 + 0.4 * share)
        if rate <= 1.5 * self.own.contracts[str(customer)]:
            raise NotShown("This customer sends about what its contract allows: it gets no more than it pays for.")
        if share < 0.2:
            raise NotShown("These are many pictures, and ordinary ones: a busy night.")

    def proves_hole(self, row: int, request_id: str) -> None:
        """
        row: the number of the first line that does not fit the line before, counted from 0
        request_id: of a line that was removed or changed
        """
        copy, rows = (
            {each.get("request_id"): _told(each) for each in self.rows(name)} for name in (COPY, "audit.jsonl")
        )
        first = audit.first_wrong(self.rows())
        if (request_id := str(request_id)) not in copy:
            raise NotShown("No line that was ever written has this request id.")
        if first is None:
            raise NotShown("Each line of the log fits the line before it: nothing is missing in between.")
        if number("the number of the line", row) != first:
            raise NotShown("The reading does not agree with the system: another line is the first that does not fit the line "
                           "before it. Count from 0.")  # fmt: skip
        if rows.get(request_id) == copy[request_id]:
            raise NotShown("The line of this request stands in the log as it was written. Take one that does not.")

    # The repair

    def examine(self) -> None:
        for name, service in self.services.items():
            if service.process.poll() is not None or not answers(f"{service.url}/v2/health/ready"):
                raise Unwell(f"The {name} does not answer: no customer is served.")
        before = len(self.log("customers"))
        time.sleep(self.watched_s / 2)
        middle = len(self.log("customers"))  # a limit that began a moment ago lets a burst through until here
        time.sleep(self.watched_s / 2)
        seen = self.log("customers")[before:]
        for name in self.own.contracts:
            own = [line["status"] for line in seen if line["customer"] == name]
            bad = sum(status not in ((200, 429) if self.own.copies(name) else (200,)) for status in own)
            if bad or 200 not in own:
                raise Unwell(f"{len(own) - own.count(200)} of the last {len(own)} requests of the {name} were not served. It "
                             "is a customer.")  # fmt: skip
        try:
            self.own.model_is_ours(self.services["model"].process.args, self.model)
            told = self.log("customers")  # before the audit log, which has a line before its customer has the answer
            self.own.log_is_whole(self.rows(), self.anchor, told)
            self.own.keys_are_theirs(self.rows()[-len(seen) // 2 :])
            self.own.limits_hold(seen[middle - before :], self.watched_s / 2)
        except Unwell:
            if self.diagnosed:
                raise
            raise Unwell("All customers are served. But what the stranger did tonight is not undone, or can be done again "
                         "tomorrow.") from None  # fmt: skip

    # Who calls

    def _call(self) -> None:
        """Starts all who call from elsewhere: customers, and strangers, whom nothing here can stop."""
        plan = {"url": self.url, "seed": self.random.randrange(10**6), "callers": self.own.callers}
        with self._log("customers").open("wb") as kept:
            command = ["-m", "course_lib.drills.programs.callers", json.dumps(plan)]
            self.unseen.append(leash.start(command, stdout=kept, stderr=kept))

    def _until(self, count: int, seconds: float = 90) -> None:
        """Waits until the audit log has so many lines."""
        until = time.monotonic() + seconds
        while len(self.rows()) < count:
            if time.monotonic() > until or self.unseen[-1].poll() is not None:
                raise RuntimeError(f"nobody calls: {self.logs['customers'][-1].read_text(encoding='utf-8')[-500:]}")
            time.sleep(0.1)


def _told(row: dict) -> dict:
    """What a line of the audit log says, without the chain."""
    return {name: value for name, value in row.items() if name not in ("previous", "hash")}


def _near(what: str, said: object, found: float, most: float) -> None:
    """Raises NotShown where a learner's reading of something that moves is further off than `most`."""
    if not abs(number(what, said) - found) <= most:
        raise NotShown(f"The reading does not agree with the system: {what}, by the audit log, is not what you give.")
