"""Check that ``psimg --help`` answers in under half a second, best of five."""

import subprocess
import time


def main() -> None:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(["psimg", "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    print(f"psimg --help: {min(seconds):.2f} s")
    assert min(seconds) < 0.5


if __name__ == "__main__":
    main()
