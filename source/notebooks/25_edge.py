# %% [markdown]
# # 25 At the edge
#
# At 3 a.m. the service is down, and nobody calls. The digits are read in each reader's own browser, so no server is
# needed. At 9 a.m. you learn that the last model is wrong. It is on forty thousand devices, and you cannot take it back.
#
# ## You will be able to
#
# - say why to leave the server, and what you lose, with the sums for your own service;
# - run a model in a browser from one file, without a server, a network or an installation;
# - test that the browser computes what Python computed, in a real browser;
# - release to a fleet of devices in stages, and say how long old versions stay;
# - check an update on the device: who signed it, whether it is intact, whether it is newer.
#
# ## Before you start
#
# You need lesson 06 (ONNX and parity), 08 (skew between training and serving) and 10 (int8). The *edge* is every machine
# at the user's end: a browser, a phone, a shop's till, a sensor. Nothing has to be installed. Where this machine has
# Chromium or Chrome, some cells drive it. Elsewhere they replay what it returned.

# %%
import base64
import gzip
import hashlib
import json
import re
import subprocess
import tempfile
import threading

# %%
import matplotlib.pyplot as plt
import numpy as np
import onnxruntime

from course_lib import data, models, show
from course_lib.idioms import begin, claim, guess, live, observe, path, reveal
from course_lib.ops import leash, reach
from course_lib.places import CHECKOUT

scratch = begin("25")
path.picture(here="25")

# %% [markdown]
# ## Why leave the server?
#
# There are four common reasons. Latency and cost are sums, and you can do them for your own service. The other two are
# questions of yes or no.
#
# | reason | the question to ask |
# | --- | --- |
# | latency | How far away is the server, and how slow is the model? |
# | privacy | Must the input leave the device at all? |
# | cost | Who pays for an answer: your cores, or the user's battery? |
# | no network | What happens in a tunnel, in a hospital, on a ship? |
#
# You also lose something. You cannot replace the model at once, or know who still has the old one. Everyone who has the
# file can read the model. You have to measure on hardware that you do not own. And you see neither inputs nor errors,
# unless users agree to send them.
#
# ### Latency
#
# Light travels about 200 km in a millisecond in glass fibre. A request goes there and back. No server can answer
# faster than that, however fast its model is.

# %%
KM_PER_MS = 200
distances_km = {"the same city": 20, "the next country": 1000, "across an ocean": 8000}
round_trip_ms = {where: 2 * km / KM_PER_MS for where, km in distances_km.items()}
show.table(
    ["server in", "distance (km)", "at least (ms)"],
    [[where, f"{km:,}", f"{round_trip_ms[where]:.1f}"] for where, km in distances_km.items()],
    caption="The least time for a question and its answer, from the distance alone",
)

# %% [markdown]
# Real networks take several times as long: cables have detours, and radio links wait. Keep the numbers in mind. We
# compare them with the browser's own time below.
#
# ### Bytes
#
# A request to our API carries 64 numbers as JSON. The page that we build has to be downloaded once, and then sends
# nothing. It has about five million bytes.

# %%
page_file = CHECKOUT / "notebooks" / "25_edge_page.html"
page = page_file.read_text(encoding="utf-8")
question = "After how many answers has the API moved more bytes than the page?"
guess("break_even", question, low=10, high=1_000_000)

# %%
test = data.digits()[1]
session = onnxruntime.InferenceSession(models.path("digits_cnn", 1))
asked = {"instances": [test.images[0][None].tolist()]}
answer = {"predictions": session.run(None, {"pixels": test.images[:1, None]})[0].tolist()}
HEADERS = 350  # bytes of both directions together, roughly: method, host, type, length, date
each = len(json.dumps(asked)) + len(json.dumps(answer)) + HEADERS

# %%
break_even = page_file.stat().st_size / each
reveal("break_even", round(break_even))
show.table(
    ["what", "bytes"],
    [["the page, once", f"{page_file.stat().st_size:,}"], ["a request and its answer", f"{each:,}"],
     ["answers until both are equal", f"{break_even:,.0f}"]],
    caption="What moves over the network",
)  # fmt: skip

# %% [markdown]
# A reader who draws ten digits and leaves has cost you far more bytes than the API would. A technician who reads a
# thousand digits a day passes the break-even within a week. A cache helps the page: an unchanged file is not sent again.
#
# ### Cost
#
# Let *v* be the price of a million answers on your servers, and *g* the price of a gigabyte sent. Lesson 18b measures
# the first. The second is on your provider's price list. In 2026 Amazon and Microsoft listed about 0.09 dollars for the
# first ten terabytes of a month from a region in the United States. Both numbers below are placeholders: write your own.

# %%
PER_MILLION = 1.0  # v, of a million answers on a service with idle pods, in your currency
PER_GB = 0.09  # g
download = page_file.stat().st_size / 1e9 * PER_GB
answers_paid = download / (PER_MILLION / 1e6)
print(f"one download costs as much as {answers_paid:,.0f} answers from the server")

# %% [markdown]
# With these placeholders and a model as small as ours, the server is cheap. The edge pays when an answer is expensive (a large model), when
# each user asks often, or when the bytes of the question are many (video, sound). For the digits service the good
# reasons are privacy and the missing network.
#
# ## What is in the page?
#
# [Open the page](25_edge_page.html) in a browser. In JupyterLab, find `notebooks/25_edge_page.html` in the file list and
# choose *Open in New Browser Tab*, or open it there and press *Trust HTML*. You can also double-click the file in your
# file manager. Draw a digit. Then switch your network off and draw another one. Some drawings are read wrongly: your
# strokes differ from the scans that the model learned from (lesson 08).
#
# It is one file. *ONNX Runtime Web* is ONNX Runtime compiled to *WebAssembly*, a compact machine language that every
# current browser runs in a sandbox. The file carries the runtime, two models, the 450 test images, and the answers that
# Python gave. Each part is text in *base64*: six bits a letter, so three bytes become four letters.

# %%
PART = r'<script type="application/octet-stream" id="([^"]*)"[^>]*>([^<]*)</script>'
parts = dict(re.findall(PART, page))
sizes = {name: len(text) for name, text in parts.items()}
sizes["the page itself"] = len(page) - sum(sizes.values())

# %%
guess("model_share", "What share of the page do the two models take?", share=True)

# %%
in_models = sizes["model-fp32"] + sizes["model-int8"]
reveal("model_share", in_models / len(page))
by_size = sorted(sizes.items(), key=lambda part: -part[1])
show.table(
    ["part", "letters in the page", "share"],
    [[name, f"{size:,}", f"{100 * size / len(page):.1f} %"] for name, size in by_size],
    caption="What the page carries",
)  # fmt: skip

# %% [markdown]
# By far the largest part is the runtime's WebAssembly. It is packed with gzip first, and the browser unpacks it.

# %%
wasm = gzip.decompress(base64.b64decode(parts["ort-wasm"]))
claim(
    "the runtime takes more than nine tenths of the page",
    sum(sizes[name] for name in ("ort-wasm", "ort-glue", "ort-api")) > 0.9 * len(page),
    f"{len(wasm):,} bytes of WebAssembly, packed {sizes['ort-wasm']:,}; models {in_models:,}",
)

# %% [markdown]
# So halving the model changes almost nothing here. A smaller runtime would: ONNX Runtime can be built with only the
# operators that your models use. For a large model it is the other way round. **Now do exercise 25.1**: what does it
# save to put the model into a file of its own?
#
# Everyone who has the page can take the models out of it. One line gets a model back, byte for byte:

# %%
taken = base64.b64decode(parts["model-fp32"])
claim(
    "the model in the page is the file that the course serves",
    taken == models.path("digits_cnn", 1).read_bytes(),
    f"{len(taken):,} bytes",
)

# %% [markdown]
# If your model must stay secret, keep it on the server. Encryption only makes copying harder: the device needs the key,
# so a user who controls the device can find it (lesson 22 on threats, 22b on extraction).
#
# ### Where this goes wrong
#
# The runtime's documentation loads it as a *module*, a script in a file of its own. That works from a web server. From a
# folder, browsers refuse it. They let a module load only from the page's own *origin*: the same scheme, host and port.
# Two files on a disk do not count as one origin. We show it with two small files. `seen_in_browser` opens a page without a window, and returns the first line on the page's console that contains
# some words. The browser gets an empty profile, and a setting under which every host name is unknown.

# %%
FLAGS = ["--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
         "--host-resolver-rules=MAP * ~NOTFOUND",  # the network is cut
         "--no-sandbox"]  # containers often refuse the sandbox. Only for pages of your own  # fmt: skip


# %%
def seen_in_browser(address, words, seconds=60):
    """The first line of the page's console that contains these words."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [reach.browser_program(), *FLAGS, f"--user-data-dir={profile}", address]
        browser = leash.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              text=True, errors="replace")  # fmt: skip
        limit = threading.Timer(seconds, leash.end, [[browser]])  # a page that says nothing
        limit.start()
        try:
            found = next((line for line in browser.stderr if words in line), None)
        finally:
            limit.cancel()
            leash.end([browser], seconds=5)
            browser.stderr.close()
    if found is None:
        raise TimeoutError(f"expected {words!r} on the console of {address} within {seconds} s")
    return found


# %%
two_files = scratch / "two_files.html"
_ = two_files.write_text('<script type="module" src="module.mjs"></script>', encoding="utf-8")
_ = (scratch / "module.mjs").write_text("console.log('module.mjs runs')", encoding="utf-8")


@live("browser")
def a_module_from_a_folder():
    return {
        "blocked": "blocked by CORS policy" in seen_in_browser(two_files.as_uri(), "module.mjs")
    }


blocked = a_module_from_a_folder()["blocked"]
claim("a module in a file beside the page is refused", blocked, "blocked by CORS policy")

# %% [markdown]
# Our page avoids the problem as follows. The script and the WebAssembly stand in the page as text. The page unpacks them and makes
# an address in memory, a *blob URL*. The browser loads that, and no second file is needed. In short:
#
# ```javascript
# const api = await import(URL.createObjectURL(new Blob([bytes], { type: "text/javascript" })));
# api.env.wasm.wasmBinary = wasm;   // so that it fetches nothing
# api.env.wasm.numThreads = 1;      // more threads need two headers from a server
# const session = await api.InferenceSession.create(model);
# ```
#
# The whole page is about 250 lines: `source/edge/page.html`. Its head also carries a *content security policy*,
# the list of addresses from which the page may load and to which it may send. Ours is empty, and the browser enforces it:

# %%
policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page).group(1)
print(" ".join(policy.split()))
nothing = "default-src 'none'" in policy and "connect-src" not in policy
claim("by default, the page's scripts may load nothing and send no request", nothing)

# %% [markdown]
# The policy has a gap: a script may still open another address as a new page, with data in the address. So the policy
# alone does not prove that "nothing leaves your device". You also have to read the script.
#
# ## Does the browser compute what Python computed?
#
# The same model file runs in two builds of ONNX Runtime: one for WebAssembly, one for this machine's processor. Lesson
# 06 calls their agreement *parity*.
# With `#test` at the end of its address, the page answers all 450 test images one by one. It compares each logit with
# Python's, and writes a report on its console. We also test the code that turns pen strokes into 8 × 8
# points. It was written twice, in Python and in JavaScript, so the two may differ.

# %%
question = "How many times as fast as float32 is int8 in the browser, once it is warm?"
guess("int8_faster", question, low=0.1, high=10)


# %%
@live("browser")
def in_the_browser():
    line = seen_in_browser(page_file.as_uri() + "#test", "edge-report")
    report = re.search(r"edge-report (\{.*\})", line).group(1)
    return json.loads(report)


report = in_the_browser()
by_model = report["models"]

# %%
ROWS = [
    ("bytes of the model", "model_bytes", "{:,}"),
    ("labels as in Python, of 450", "labels_agree", "{}"),
    ("labels right, of 450", "right", "{}"),
    ("largest difference of a logit", "largest_difference", "{:.1e}"),
    ("first answer (ms)", "first_ms", "{:.1f}"),
    ("each answer after that (ms)", "mean_ms", "{:.3f}"),
]
show.table(
    ["what", "float32", "int8"],
    [
        [what, *(form.format(by_model[m][key]) for m in ("fp32", "int8"))]
        for what, key, form in ROWS
    ],
    caption=f"450 test images in the browser, ONNX Runtime Web {report['runtime']}",
)

# %% [markdown]
# Three claims follow. The second allows for rounding, and the third allows no difference. Python's answers are in the
# page, so they are the same on each machine.

# %%
claim(
    "in both forms the browser gives Python's label to each of the 450 images",
    all(each["labels_agree"] == 450 for each in by_model.values()),
    ", ".join(f"{m} {each['labels_agree']}" for m, each in by_model.items()),
)
claim(
    "float32 logits differ by less than 1e-4",
    by_model["fp32"]["largest_difference"] < 1e-4,
    f"{by_model['fp32']['largest_difference']:.1e}",
)
claim(
    "no point differs between the two programs that turn strokes into points",
    report["points_that_differ"] == 0,
    f"{report['drawings']} drawings of 64 points",
)

# %% [markdown]
# The int8 model agrees more closely because its sums are whole numbers. Whole numbers add up to the same result in any
# order. Float sums depend on the order, and two builds may add in different orders.
#
# How long does the reader wait?

# %%
faster = by_model["fp32"]["mean_ms"] / by_model["int8"]["mean_ms"]
reveal("int8_faster", faster)
steps = {"unpack": report["unpack_ms"], "compile, load float32": report["create_fp32_ms"],
         "first answer": by_model["fp32"]["first_ms"], "later answer": by_model["fp32"]["mean_ms"]}  # fmt: skip
rows = [[step, f"{ms:.2f}"] for step, ms in steps.items()]
show.table(["step", "ms"], rows, caption="From opening the page to an answer")

# %%
observe(
    "once it is warm, the browser answers sooner than light in fibre returns from 1,000 km away",
    by_model["fp32"]["mean_ms"] < round_trip_ms["the next country"],
    f"{by_model['fp32']['mean_ms']:.2f} ms against {round_trip_ms['the next country']:.0f} ms",
    either=True,
)
before_first = sum(steps.values()) - steps["later answer"]
observe(
    "the reader waits more than a thousand times as long for the first answer as for a later one",
    before_first > 1000 * steps["later answer"],
    f"{before_first:,.0f} ms, then {steps['later answer']:.2f} ms",
    either=True,
)

# %% [markdown]
# The start costs the most. Show something useful meanwhile, and start loading before the reader needs an answer. A
# browser's clock ticks in coarse steps, to make attacks by timing harder. So the page times 450 answers together.
# A phone may take several times as long. Open the page on yours and run the 450 images.
#
# Is int8 worth it here? It makes the page about 1 % smaller. The first of the two tables says whether it saves time.
# With so small a model the answer changes from run to run, so measure again with a larger one.
#
# ## How long does an old version stay in the fleet?
#
# A server's operator replaces the model and is done. A *fleet* is all devices that run your model. A device updates
# when it is switched on, has a network, and its user agrees. Suppose that each device meets these conditions on a given
# day with its own probability. Some are used daily and some twice a year. We draw the probabilities from a *beta
# distribution*, which has both kinds. Its two parameters are our assumption: fit them to your own log.

# %%
rng = np.random.default_rng(25)
DEVICES = 40_000
daily = rng.beta(0.5, 1.5, DEVICES)  # probability of an update on a given day
days_until_update = rng.geometric(np.maximum(daily, 1e-6))

# %%
question = "What share of the devices still has the old version after 30 days?"
guess("still_old", question, share=True)

# %%
days = np.arange(0, 181)
still_old = np.array([(days_until_update > day).mean() for day in days])
reveal("still_old", still_old[30])

# %% [markdown]
# The curve falls fast at first, and then more and more slowly:

# %%
plt.figure(figsize=(6.4, 3.4))
plt.plot(days, 100 * still_old, color=show.BLUE)
for day in (1, 30, 180):
    plt.annotate(f"day {day}: {100 * still_old[day]:.0f} %", (day, 100 * still_old[day]),
                 xytext=(6, 8), textcoords="offset points",
                 ha="right" if day == 180 else "left")  # fmt: skip
plt.xlabel("days since the release")
plt.ylabel("devices with the old version (%)")
plt.ylim(0, 105)
plt.xlim(-2, 190)
show.finding(
    "Some devices keep the old version for half a year",
    alt=f"A curve falls from 100 % of the devices to {100 * still_old[30]:.0f} % after 30 days and "
    f"{100 * still_old[180]:.0f} % after 180 days.",
)

# %%
claim(
    "in this simulated fleet more than 5 % of the devices are still old after 30 days",
    still_old[30] > 0.05,
    f"{100 * still_old[30]:.1f} %, and {100 * still_old[180]:.1f} % after 180 days",
)

# %% [markdown]
# Two rules follow. First, the service that receives results from the fleet must understand several versions at once,
# for months. So each result carries its version. Second, a mistake cannot be recalled. You can only release a newer
# version and wait while it spreads along the same curve.
#
# ## How do you release to a fleet in stages?
#
# You offer the new version to 1 % of the devices, look, then to 10 %, and so on. App stores call this a *staged* or
# *phased* release. Stopping it means that no more devices get the version. Those that have it keep it.
#
# Which devices are in the first 1 %? Three demands lead to one rule. A device must stay in once it is in, so that it
# does not jump back and forth. No list of devices should be needed. And the next release should not start with the same
# unlucky ones. The rule: compute a hash of the device's identity together with the release's name, read it as a number
# between 0 and 1, and compare it with the stage. In exercise
# 19.1 you write this hash for a canary. In exercise 25.2 you use it to answer a device while several releases are under
# way.
#
# What does it save? Suppose that a bad model fails on every device that gets it, and that a device reports this with
# probability 0.02 on each day. You stop at 20 reports.

# %%
STAGES = [(0, 0.01), (2, 0.1), (4, 0.5), (6, 1.0)]  # from which day, which share
ALL_AT_ONCE = [(0, 1.0)]
place = rng.random(DEVICES)  # stands for the hash


def reached(stages, stop_at=20, reporting=0.02, seed=1):
    """How many devices have the bad model when you stop, and the day."""
    draw, has, reports = np.random.default_rng(seed), np.zeros(DEVICES, bool), 0
    for day in range(60):
        share = max(share for start, share in stages if start <= day)
        has |= (place < share) & (draw.random(DEVICES) < daily)
        reports += draw.binomial(has.sum(), reporting)
        if reports >= stop_at:
            break
    return int(has.sum()), day


# %%
outcome = {"all at once": reached(ALL_AT_ONCE), "in stages": reached(STAGES)}
show.table(
    ["release", "devices with the bad model", "stopped on day"],
    [[how, f"{count:,}", day] for how, (count, day) in outcome.items()],
    caption=f"A bad model, {DEVICES:,} devices",
)

# %%
claim(
    "in stages, less than a quarter as many devices get the bad model",
    outcome["in stages"][0] < 0.25 * outcome["all at once"][0],
    f"{outcome['in stages'][0]:,} against {outcome['all at once'][0]:,}",
)

# %% [markdown]
# Stages cost time: a good version is offered to the last half of the devices only on day 6. Change `STAGES` and
# `reporting`, and run the cells again. Stages do not stop a fault that nobody reports. So what may a device report?
#
# ## What may telemetry say?
#
# *Telemetry* is what devices send back about themselves. The drawing must not be in it, or the reason to leave the
# server is gone. Send counts that answer one of the operator's questions, and nothing that could identify a person:
#
# | useful | instead of |
# | --- | --- |
# | version of model and runtime | a list of installed programs |
# | how many answers today, in steps of ten | the time of each answer |
# | a histogram of the confidence, in five bins | drawings and probabilities |
# | how often the user corrected an answer | the corrected drawing, unless the user sends it on purpose |
# | class of device ("phone, 2023") | an advertising number, an address |
#
# Ask the user first. The user can refuse, and the page still works. On arrival, groups with few devices are dropped,
# since a rare combination points to a person. Lesson 22b shows how to add noise on the device itself.

# %%
sent = ["phone 2021"] * 260 + ["phone 2023"] * 190 + ["tablet 2019"] * 47 + ["prototype"] * 3
kinds, counts = np.unique(sent, return_counts=True)
FEWEST = 20
kept = {str(kind): int(count) for kind, count in zip(kinds, counts) if count >= FEWEST}
claim("the group of a few prototypes is not stored", "prototype" not in kept, f"{kept}")

# %% [markdown]
# ## What does a device check before it installs a model?
#
# The update comes over a network that others control. Lesson 22 signs a release with a private key, and the device has
# the public key. That answers *who* made it. Is a valid signature enough?

# %%
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

builder = Ed25519PrivateKey.generate()
public = builder.public_key()


def release(version, model):
    """A manifest, its signature, and the model. The manifest names the model's checksum."""
    told = {"version": version, "sha256": hashlib.sha256(model).hexdigest()}
    manifest = json.dumps(told).encode()
    return manifest, builder.sign(manifest), model


# %%
def signed(manifest, signature):
    try:
        public.verify(signature, manifest)
    except InvalidSignature:
        return False
    return True


vulnerable, mended = release(7, b"weights with a back door"), release(8, b"weights without it")
claim("the old release is still correctly signed", signed(*vulnerable[:2]) and signed(*mended[:2]))

# %% [markdown]
# **Where this goes wrong.** Version 7 has a fault, and version 8 mends it. Both are signed, and a signature does not
# expire by itself. Somebody who controls the network keeps version 7 and offers it again to devices that already have
# version 8. This is a *rollback attack*. A checker that looks only at the signature installs it.
#
# The device therefore remembers the highest version that it has accepted, in a place that an update cannot reset. It
# refuses every version that is not higher. The order of the checks matters too: nothing in the manifest may be read before
# its signature has been verified. Exercise 25.3 has you write this check. If you need to go back to old weights, release
# them under a new, higher number.

# %%
remembered = json.loads(mended[0])["version"]
offered = json.loads(vulnerable[0])["version"]
refused = offered <= remembered
claim("the remembered version exposes the attack", refused, f"{offered} after {remembered}")

# %% [markdown]
# *The Update Framework* (TUF) is the standard answer. It adds an expiry date, so that an attacker cannot hide new
# releases for long, and separate keys, so that one stolen key is not enough. On a microcontroller
# the boot loader can refuse older versions. MCUboot, for one, also starts a new program on trial: if the program does not
# confirm that it works, the next start returns to the old one.
#
# ## What we measured

# %%
saved = outcome["all at once"][0] - outcome["in stages"][0]
show.table(
    ["what", "value"],
    [
        ["the page", show.bytes_text(page_file.stat().st_size)],
        ["of it the models", f"{100 * in_models / len(page):.1f} %"],
        ["labels as in Python", f"{by_model['fp32']['labels_agree']} of 450"],
        ["old versions after 30 days, simulated", f"{100 * still_old[30]:.0f} %"],
        ["devices saved by stages, simulated", f"{saved:,}"],
    ],
    caption="This lesson in five numbers",
)

# %% [markdown]
# ## What to remember
#
# - Leave the server for privacy, latency or a missing network. Do the sums for bytes and cost first.
# - The runtime, not the model, fills a small page. Test parity in a real browser, with the network cut.
# - A fleet keeps old versions for months. Release in stages, sign, and refuse every version that is not newer.
#
# ## Where this breaks down
#
# A model of hundreds of megabytes is too large for one HTML file. A page fetches it in pieces and keeps it in the
# browser's storage, where the browser may delete it. Our page uses one thread and no GPU: more threads need a server that sends the headers
# of *cross-origin isolation*, and WebGPU is not everywhere. The fleet is simulated with independent devices. In a real
# one, a whole region can lose its network at once. Somebody with full control of a device can skip every check.
#
# ## What real teams use
#
# In the browser: ONNX Runtime Web, LiteRT for the web, or Transformers.js, mostly with WebGPU for larger models. Files
# come from a content delivery network and are pinned by `integrity` checksums. On phones, the app stores' staged
# releases, and a separate channel for models (lesson 25b has the formats). For devices without a store: TUF or Uptane,
# Mender, RAUC, or a cloud's fleet service.
#
# ## Further reading
#
# - ONNX Runtime's documentation: *Web*; *Build ONNX Runtime for Web*; *Reduced operator config file*.
# - W3C, *Content Security Policy Level 3*. WHATWG, *HTML*, section *The script element*.
# - *The Update Framework Specification*, section *Detailed client workflow*; advisory GHSA-66x3-6cw3-v5gj
#   (CVE-2022-29173): the client of go-tuf before 0.3.0 did not check correctly against rollback.
# - J. Samuel, N. Mathewson, J. Cappos, R. Dingledine, *Survivable Key Compromise in Software Update Systems*, CCS 2010.
# - Amazon Appstore's documentation: *Staged Rollouts Overview*.
