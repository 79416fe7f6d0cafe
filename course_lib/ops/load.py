"""A small load client that runs inside the cluster: `python -c` with this file's text. Standard library only.

usage: load.py HOST PORT PATH SECONDS WORKERS   (the body on the last argument)
Each request opens a connection of its own, so that the Service chooses a pod for each.
Prints `begin` when it begins, and one JSON line at its end: the number answered, the failures by reason, the answers in
each half second by pod, and the median and 99th percentile of the time to an answer, in milliseconds.
"""

import collections
import http.client
import json
import math
import sys
import threading
import time


def run(host: str, port: int, path: str, seconds: float, workers: int, body: str) -> dict:
    """Sends requests from `workers` threads for `seconds`; a request fails on any status but 200 and any broken wire."""
    pods, failures, times, lock = (
        collections.defaultdict(collections.Counter),
        collections.Counter(),
        [],
        threading.Lock(),
    )
    begin = time.monotonic()

    def work() -> None:
        while (now := time.monotonic()) - begin < seconds:
            try:
                wire = http.client.HTTPConnection(host, port, timeout=10)
                wire.request("POST", path, body, {"Content-Type": "application/json"})
                response = wire.getresponse()
                response.read()
                pod, reason = response.headers.get("X-Served-By", "?"), response.status
                wire.close()
            except Exception as wrong:  # whatever broke counts, under its own name
                pod, reason = None, type(wrong).__name__
            with lock:
                if reason == 200:
                    pods[pod][int(2 * (now - begin))] += 1
                    times.append(1000 * (time.monotonic() - now))
                else:
                    failures[str(reason)] += 1
            time.sleep(0.02)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times.sort()
    by_pod = {pod: [counts[i] for i in range(math.ceil(2 * seconds))] for pod, counts in pods.items()}
    return {
        "answered": len(times),
        "failed": dict(failures),
        "by_half_second": by_pod,
        "p50_ms": times[len(times) // 2] if times else None,
        "p99_ms": times[len(times) * 99 // 100] if times else None,
    }


if __name__ == "__main__":
    host, port, path, seconds, workers, body = sys.argv[1:]
    print("begin", flush=True)
    print(json.dumps(run(host, int(port), path, float(seconds), int(workers), body)))
