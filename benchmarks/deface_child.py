"""Run in deface's own environment: send one video through deface, throw its output away, print the seconds.

The detector is loaded within the time, as ours is; importing the libraries is not, as with ours. One thread, the
settings of its command line, and OpenCV to run the network: what a plain ``pip install deface`` uses, and on one thread
faster than onnxruntime (55 against 62 ms a frame on the machine this was written on).
"""

import sys
import time

import cv2
from deface.centerface import CenterFace  # type: ignore[import-not-found]
from deface.deface import video_detect  # type: ignore[import-not-found]

_SETTINGS = {
    "threshold": 0.2,
    "enable_preview": False,
    "cam": False,
    "nested": False,
    "replacewith": "blur",
    "mask_scale": 1.3,
    "ellipse": True,
    "draw_scores": False,
    "ffmpeg_config": {},
}


def main(path: str) -> None:
    """Measure and print."""
    cv2.setNumThreads(1)
    start = time.perf_counter()
    video_detect(ipath=path, opath=None, centerface=CenterFace(backend="opencv"), **_SETTINGS)
    print(time.perf_counter() - start)


if __name__ == "__main__":
    main(sys.argv[1])
