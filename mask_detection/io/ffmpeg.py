"""FFmpeg, through OpenCV, with no more of its protocols and formats than a kind of source needs.

Some formats are lists of what to play: left to itself, FFmpeg plays any local file or calls any host that such a
playlist names. So none of them is permitted. Who trusts a source sets OpenCV's own environment variable, such as
``OPENCV_FFMPEG_CAPTURE_OPTIONS="format_whitelist;hls,mpegts,mov"``: what is in it comes before what is set here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2

OPTIONS_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"  # key;value|key;value
VIDEOS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h261,h263,h264,hevc,vvc,av1,obu,ivf,vc1,vc1test,dirac,cavsvideo,avs2,"
    "avs3,flv,live_flv,kux,asf,wtv,ogg,rm,mxf,gxf,lxf,dv,nut,nsv,swf,yuv4mpegpipe,amv,dhav,cine,pva,ty,nuv,4xm,roq,"
    "smjpeg,mjpeg,mjpeg_2000,mpjpeg,gif,apng,webp,jpegxl_anim,flic,film_cpk,bink,smk"
)
PHOTOS = "jpeg_pipe,png_pipe,webp_pipe,bmp_pipe,tiff_pipe,gif_pipe,ppm_pipe,pgm_pipe,j2k_pipe,jpegxl_pipe"
PLAYLIST_STARTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"v=0")  # HLS, lists of files, DASH and others, SDP
PLAYLIST_SUFFIXES = (".m3u8", ".m3u", ".mpd", ".ffconcat", ".sdp")


class Access(NamedTuple):
    """What FFmpeg may use for a source: names of protocols and of formats, with commas between."""

    protocols: str
    formats: str


FILE = Access("file", f"{VIDEOS},{PHOTOS}")
_HTTP = "http,https,httpproxy,tcp,tls"
_RTMP = "rtmp,rtmps,rtmpe,rtmpt,rtmpts,rtmpte,ffrtmpcrypt,ffrtmphttp,http,https,tcp,tls"
ADDRESSES = {
    **dict.fromkeys(("http", "https"), Access(_HTTP, f"{VIDEOS},{PHOTOS}")),
    **dict.fromkeys(("rtsp", "rtsps"), Access(f"rtp,srtp,udp,{_HTTP}", "rtsp")),
    **dict.fromkeys(("rtmp", "rtmps", "rtmpt", "rtmpts", "rtmpe", "rtmpte"), Access(_RTMP, "flv,live_flv")),
    **{scheme: Access(scheme, VIDEOS) for scheme in ("tcp", "udp", "srt")},
    "rtp": Access("rtp,udp", "rtp"),
}


def open_capture(name: str, access: Access, parameters: Sequence[int] = ()) -> cv2.VideoCapture:
    """Open a file or address with FFmpeg and nothing else; check ``isOpened``.

    Args:
        name: an absolute path, which FFmpeg takes for no address, or an address.
        access: what FFmpeg may use for it and for what it refers to.
        parameters: OpenCV's, each followed by its value.
    """
    # UDP, which FFmpeg may choose for RTSP, loses packets, and the frames come smeared.
    options = {"rtsp_transport": "tcp", "protocol_whitelist": access.protocols, "format_whitelist": access.formats}
    with _capture_options.set_to(options):
        return cv2.VideoCapture(name, cv2.CAP_FFMPEG, list(parameters))


def is_playlist(path: Path) -> bool:
    """Tell whether a file names other files or addresses to play rather than being a video."""
    with path.open("rb") as stream:
        return stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(PLAYLIST_STARTS)


class _CaptureOptions:
    """The environment variable from which OpenCV takes FFmpeg's options, and which is the whole process's."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._n_users = 0
        self._options: dict[str, str] = {}  # for those users
        self._users_own: str | None = None  # what the variable was set to before

    @contextmanager
    def set_to(self, options: dict[str, str]) -> Iterator[None]:
        """Set it while the block runs. Threads that open the same kind of source do so at once, others wait."""
        with self._changed:
            self._changed.wait_for(lambda: not self._n_users or self._options == options)
            if not self._n_users:
                self._set(options)
            self._n_users += 1
        try:
            yield
        finally:
            with self._changed:
                self._n_users -= 1
                if not self._n_users:
                    self._restore()
                self._changed.notify_all()

    def _set(self, options: dict[str, str]) -> None:
        self._options, self._users_own = options, os.environ.get(OPTIONS_VARIABLE)
        own = dict(text.partition(";")[::2] for text in (self._users_own or "").split("|") if text)
        os.environ[OPTIONS_VARIABLE] = "|".join(";".join(option) for option in {**options, **own}.items())

    def _restore(self) -> None:
        os.environ.pop(OPTIONS_VARIABLE)
        if self._users_own is not None:
            os.environ[OPTIONS_VARIABLE] = self._users_own


_capture_options = _CaptureOptions()
