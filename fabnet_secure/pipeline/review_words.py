"""The words of the operator's page, in English and Japanese."""

from collections.abc import Mapping

LANGUAGES = ("en", "ja")

WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "Whose face is whose",
        "site": "fabnet-secure · the operator’s look",
        "lead": "Say for each face which consent it was recorded under. What stays with nobody is dropped: nothing of "
        "it is kept.",
        "faces": "faces to decide",
        "frames": "frames in the video",
        "consents": "consents named",
        "minutes": "minutes left for this look",
        "face": "Face {number}",
        "when": "Seen",
        "span": "{start} – {end}",
        "frame_range": "frames {first} – {last}",
        "length": "Length",
        "length_of": "{frames} frames",
        "size": "Size",
        "size_of": "{size} pixels",
        "where": "Where in the picture",
        "whose": "Whose is it?",
        "nobody": "Nobody",
        "nobody_why": "drop this face",
        "consent": "Consent",
        "thumbnail": "Face {number}, blurred, frame {frame}",
        "bind": "Bind the faces",
        "leave": "Leave without an answer",
        "note": "The pictures are 12 × 12 squares, made for this look and never written to a disk; they go when you "
        "answer. Close this tab afterwards: what your browser keeps of a page in its own memory is its own affair.",
        "conflict": "That cannot be: two faces that are seen at the same time are given to one person. Nothing was "
        "bound yet.",
        "incomplete": "The answer was not complete. Nothing was bound yet.",
        "done": "Thank you. The answer was taken.",
        "done_more": "Nothing of this page was written to a disk. Close this tab; the terminal says what was bound.",
        "left": "Nothing was bound.",
        "left_more": "Nothing of this page was written to a disk. You can close this tab.",
    },
    "ja": {
        "title": "この顔はどなたですか",
        "site": "fabnet-secure · 担当者による確認",
        "lead": "それぞれの顔について、どの同意にもとづいて撮影されたものかを選んでください。「該当なし」のままの顔は"
        "破棄され、何も保存されません。",
        "faces": "確認する顔",
        "frames": "動画のフレーム数",
        "consents": "指定された同意",
        "minutes": "残り時間（分）",
        "face": "顔 {number}",
        "when": "時間",
        "span": "{start} – {end}",
        "frame_range": "フレーム {first} – {last}",
        "length": "長さ",
        "length_of": "{frames} フレーム",
        "size": "大きさ",
        "size_of": "{size} ピクセル",
        "where": "画面内の位置",
        "whose": "どなたの顔ですか",
        "nobody": "該当なし",
        "nobody_why": "この顔を破棄する",
        "consent": "同意",
        "thumbnail": "顔 {number}（ぼかし済み）、フレーム {frame}",
        "bind": "この内容で確定する",
        "leave": "回答せずに終了する",
        "note": "画像は確認のために作られた 12 × 12 の粗い画像で、ディスクには書き込まれず、回答すると破棄されます。"
        "終わったらこのタブを閉じてください。ブラウザ自身のメモリに残るものは、このプログラムからは消去できません。",
        "conflict": "同時に映っている二つの顔が、同じ人のものとして選ばれています。まだ何も確定していません。",
        "incomplete": "回答が完全ではありませんでした。まだ何も確定していません。",
        "done": "ありがとうございます。回答を受け取りました。",
        "done_more": "このページの内容はディスクに書き込まれていません。タブを閉じ、結果は端末で確認してください。",
        "left": "何も確定しませんでした。",
        "left_more": "このページの内容はディスクに書き込まれていません。このタブを閉じてください。",
    },
}


def language_of(header: str) -> str:
    """Return ``en`` or ``ja``: whichever an ``Accept-Language`` header prefers (RFC 9110, 12.5.4); ``en`` if neither.

    Ties go to the language named first.
    """
    best, found = 0.0, LANGUAGES[0]
    for part in header.split(","):
        name, _, weight = part.strip().partition(";")
        language = name.strip().lower().partition("-")[0]
        quality = _quality(weight)
        if language in LANGUAGES and quality > best:
            best, found = quality, language
    return found


def _quality(weight: str) -> float:
    name, _, value = weight.strip().partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0
