"""Video: read, find faces, follow them, bind them to a consent, crop.

Guarantees: pictures stay in this process's memory; audio is never opened; a face that was not bound is never
encoded. Does not guarantee: who a face belongs to (no face is recognised here), nor that FFmpeg's own decode
buffers are zeroed when it frees them.

OpenCV reads these settings when its video back end first opens a file, so they are set before it is imported:
it stays silent, and FFmpeg may open local files of the containers named in ``container.py`` only (no
playlist, no network protocol, no decoder of sound).
"""

import os
from collections.abc import Mapping

# No decoder of sound is named, so none is opened while FFmpeg finds out what a file holds.
CODECS = (
    "h264,hevc,vp8,vp9,av1,mjpeg,mpeg1video,mpeg2video,mpegvideo,mpeg4,gif"
    ",msmpeg4v1,msmpeg4v2,msmpeg4,h263,flv,theora,wmv1,wmv2,wmv3,vc1,prores,dvvideo,rawvideo"
)
LOCAL: Mapping[str, str] = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpeg,mpegvideo,m4v,mpegts,ogg,flv,asf",
    "codec_whitelist": CODECS,
}
"""FFmpeg's options for a file on this machine."""

os.environ["OPENCV_LOG_LEVEL"] = "ERROR"
os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "|".join(f"{name};{value}" for name, value in LOCAL.items())
