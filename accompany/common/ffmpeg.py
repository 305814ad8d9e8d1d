"""Decoding through ffmpeg.

ffmpeg hands over an AU file of 32-bit floats: its header is six numbers that everybody reads alike, and its length may
stay open. (Of the W64 files that ffmpeg 5.1 writes libsndfile takes the floats for integers.)
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import subprocess
from pathlib import Path

from accompany.errors import InputError

_log = logging.getLogger(__name__)

_FORMATS = (
    "aac,aax,ac3,adx,aea,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,dtshd,dv,eac3,ea,flac,flv,gsm,iff,ircam,loas,"
    "matroska,mlp,mov,mp3,mpc,mpc8,mpeg,mpegts,mxf,nistsphere,nut,ogg,oma,paf,pvf,qcp,rm,sbc,shn,sln,sol,sox,swf,"
    "tak,truehd,tta,voc,vqf,w64,wav,wsd,wtv,wv,xwma"
)
"""Formats that hold their sound themselves. Playlists (hls, concat, dash) would have ffmpeg read other files."""
_STREAM = re.compile(r"^\s*Stream #0:\d+.*: Audio:", re.MULTILINE)


def decode(
    path: Path,
    decoded: Path,
    *,
    demuxer: str | None = None,
    max_seconds: float | None = None,
    max_bytes: int | None = None,
    timeout_s: float | None = None,
    reason: str = "unknown format",
) -> Path:
    """Decode the first audio stream of a file with ffmpeg, local files only, as 32-bit floats.

    Args:
        path: the file.
        decoded: the AU file to write.
        demuxer: ffmpeg's name for the format of the file; None lets it guess.
        max_seconds: how much of it to decode.
        max_bytes: how much to write.
        timeout_s: how long ffmpeg may take.
        reason: why libsndfile could not read it, for the error.

    Returns:
        `decoded`.

    Raises:
        InputError: no ffmpeg, no audio that it can read, or too much of it.
    """
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise InputError(f"Cannot read {path} as audio ({reason}); convert it to WAV or FLAC, or install ffmpeg.")
    command = [ffmpeg, "-v", "level+info", "-hide_banner", "-nostats", "-nostdin", "-y"]
    command += ["-protocol_whitelist", "file", "-format_whitelist", _FORMATS, *(["-f", demuxer] if demuxer else [])]
    command += ["-i", f"file:{path}"]
    command += ["-map", "0:a:0", "-map_metadata", "-1"]
    command += ["-t", f"{max_seconds:g}"] if max_seconds else []
    command += ["-fs", str(max_bytes)] if max_bytes else []
    command += ["-c:a", "pcm_f32be", "-f", "au", str(decoded)]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{path} takes too long to decode; export it as WAV or FLAC.") from error
    said = done.stderr.decode("utf-8", "replace")
    if done.returncode != 0 or not decoded.exists():
        for number in (errno.ENOSPC, errno.EFBIG):
            if os.strerror(number) in said:
                full = OSError(number, os.strerror(number), str(decoded))
                raise InputError(f"Cannot decode {path}: {decoded.parent} is full; free some space.") from full
        raise InputError(f"Cannot read {path} as audio ({reason}); give a WAV, FLAC, MP3, OGG or M4A recording.")
    if max_bytes and decoded.stat().st_size >= max_bytes:
        raise InputError(f"{path} holds too much sound to decode here; send a shorter recording, or FLAC or MP3.")
    _warn(path, said)
    return decoded


def _warn(path: Path, said: str) -> None:
    """Log ffmpeg's warnings that matter to a user: several streams, and damage."""
    said = re.sub(r"\[info\] ", "", said)
    streams = len(_STREAM.findall(said.split("Output #0")[0]))
    if streams > 1:
        _log.warning("%s has %d audio streams; only the first is used.", path, streams)
    if damage := re.findall(r"\[(?:error|fatal)\] (.*)", said):
        _log.warning("%s is damaged in parts (%s); going on with what ffmpeg could read.", path, damage[0])
