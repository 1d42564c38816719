"""Video: read, find faces, follow them, bind them to a consent, crop.

Guarantees: pictures stay in this process's memory; audio is never opened; a face that was not bound is never
cropped. Does not guarantee: who a face belongs to (no face is recognised here), nor that FFmpeg's own decode
buffers are zeroed when it frees them.

OpenCV reads these settings when its video back end first opens a file, so they are set before it is imported:
it stays silent, and FFmpeg may open local files of the containers named in ``container.py`` only (no
playlist, no network protocol).
"""

import os

os.environ["OPENCV_LOG_LEVEL"] = "ERROR"
os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = (
    "protocol_whitelist;file"
    "|format_whitelist;mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpeg,mpegvideo,mpegts,ogg,flv,asf"
)
