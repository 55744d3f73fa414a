"""Photos through the script: inputs of every kind, annotated outputs, JSON lines, exit statuses, one-line errors."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import pytest

import detect_mask_image
from mask_detection.commands import cli
from mask_detection.io.images import read_image
from mask_detection.utils.boxes import box_iou
from tests.helpers.paths import EXAMPLES

FACE_KEYS = {"box", "label", "probability", "face_confidence", "probabilities"}


@pytest.fixture
def detect(tiny_model: Path):
    """A function that runs the script with a model that loads quickly, without a window."""

    def run(*arguments: object) -> int:
        stages = ["--detector", "haar", "--model", tiny_model, "--no-display"]
        return detect_mask_image.main([str(argument) for argument in (*stages, *arguments)])

    return run


@pytest.fixture
def album(tmp_path: Path, small_portrait: np.ndarray, make_image) -> Path:
    """A folder with images, folders in it, hidden files and others."""
    folder = tmp_path / "album"
    (folder / "summer" / "beach").mkdir(parents=True)
    (folder / ".cache").mkdir()
    cv2.imwrite(str(folder / "portrait.png"), small_portrait)
    cv2.imwrite(str(folder / "summer" / "sea.jpg"), make_image())
    cv2.imwrite(str(folder / "summer" / "beach" / "portrait.png"), make_image(seed=1))
    cv2.imwrite(str(folder / ".cache" / "thumbnail.png"), make_image(seed=2))
    (folder / "notes.txt").write_text("no image")
    return folder


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# --- inputs and outputs ---


def test_a_photo_is_annotated_and_described(detect, photo, tmp_path, capsys):
    output, records = tmp_path / "annotated.png", tmp_path / "records.jsonl"

    assert detect("--image", photo, "--output", output, "--json", records) == cli.EXIT_DONE

    (record,) = lines_of(records)
    assert set(record) == {"image", "width", "height", "faces"}
    assert (record["image"], record["width"], record["height"]) == (str(photo), 240, 240)
    (face,) = record["faces"]
    assert FACE_KEYS <= set(face) <= FACE_KEYS | {"uncertain"}
    x1, y1, x2, y2 = face["box"]
    assert 0 <= x1 < x2 <= 240
    assert 0 <= y1 < y2 <= 240
    assert face["label"] in {"with_mask", "without_mask"}
    assert 0.5 <= face["probability"] <= 1
    assert 0.5 <= face["face_confidence"] <= 1

    before, after = read_image(photo), read_image(output)
    assert after.shape == before.shape
    changed = (before != after).any(axis=2)
    assert changed[y1:y2, [x1, x2 - 1]].mean() > 0.9
    assert not changed[y2 + 5 :].any()
    assert capsys.readouterr().out == f"{photo}: 1 {face['label']}\n"


def test_the_face_is_where_the_portrait_has_it(detect, tmp_path):
    detect("--image", EXAMPLES / "without_mask.jpg", "--json", tmp_path / "records.jsonl")
    truth = json.loads((EXAMPLES / "expected.json").read_text())["without_mask.jpg"][0]["box"]
    found = lines_of(tmp_path / "records.jsonl")[0]["faces"][0]["box"]
    assert box_iou(np.array([truth]), np.array([found]))[0, 0] > 0.4


def test_several_photos_go_into_a_folder_in_their_order(detect, album, tmp_path):
    photos = [album / "summer" / "sea.jpg", album / "portrait.png"]
    assert detect("--image", *photos, "--output", tmp_path / "out", "--json", tmp_path / "a.jsonl") == cli.EXIT_DONE
    assert files_below(tmp_path / "out") == ["portrait.png", "sea.jpg"]
    assert [line["image"] for line in lines_of(tmp_path / "a.jsonl")] == [str(path) for path in photos]


def test_what_is_no_image_in_a_folder_is_counted_in_one_line(detect, album, tmp_path, capsys):
    for name in ("film.mp4", "summer/film.MP4", "README"):
        (album / name).write_bytes(b"no image")
    assert detect("--image", album, "--output", tmp_path / "out") == cli.EXIT_DONE
    lines = capsys.readouterr().err.splitlines()
    assert lines.count(f"{album}: 4 files skipped that are no images (2 .mp4, 1 no suffix, 1 .txt)") == 1
    assert len([line for line in lines if "skipped" in line]) == 1


def test_a_folder_is_searched_to_the_bottom_and_its_tree_kept(detect, album, tmp_path):
    assert detect("--image", album, "--output", tmp_path / "out", "--json", tmp_path / "a.jsonl") == cli.EXIT_DONE
    expected = ["portrait.png", "summer/beach/portrait.png", "summer/sea.jpg"]
    assert files_below(tmp_path / "out") == expected
    assert [line["image"] for line in lines_of(tmp_path / "a.jsonl")] == [str(album / name) for name in expected]


def test_a_glob_is_expanded_by_the_script(detect, album, tmp_path):
    assert detect("--image", f"{album}/**/*.png", "--output", tmp_path / "out") == cli.EXIT_DONE
    assert len(files_below(tmp_path / "out")) == 2


def test_a_name_with_brackets_is_a_file_and_no_glob(detect, photo, tmp_path):
    odd = photo.rename(photo.with_name("[1] *.png"))
    assert detect("--image", odd, "--output", tmp_path / "out.png") == cli.EXIT_DONE


def test_photos_of_the_same_name_do_not_overwrite_each_other(detect, album, tmp_path):
    photos = [album / "portrait.png", album / "summer" / "beach" / "portrait.png"]
    assert detect("--image", *photos, "--output", tmp_path / "out") == cli.EXIT_DONE
    assert files_below(tmp_path / "out") == ["portrait.png", "summer/beach/portrait.png"]


def test_a_photo_named_twice_is_done_once(detect, photo, tmp_path):
    detect("--image", photo, photo.parent, photo, "--json", tmp_path / "a.jsonl")
    assert len(lines_of(tmp_path / "a.jsonl")) == 1


def test_a_name_that_is_no_unicode(detect, photo, tmp_path, capsysbinary):
    try:
        path = photo.rename(photo.with_name("caf\udce9.png"))  # the byte E9, as Latin-1 wrote it
    except OSError:
        pytest.skip("this file system takes Unicode only")
    assert detect("--image", path, "--json", tmp_path / "a.jsonl") == cli.EXIT_DONE
    assert lines_of(tmp_path / "a.jsonl")[0]["image"] == str(path)


def test_formats_that_cannot_be_written_come_out_as_png(detect, album, make_image, tmp_path):
    cv2.imwrite(str(album / "grey.pgm"), make_image()[..., 0])
    assert detect("--image", album, "--output", tmp_path / "out") == cli.EXIT_DONE
    assert "grey.pgm.png" in files_below(tmp_path / "out")


def test_json_on_standard_output_is_all_that_is_there(detect, album, capsys):
    assert detect("--image", album, "--json", "-") == cli.EXIT_DONE
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [len(line["faces"]) for line in lines] == [1, 0, 0]


def test_confidence_leaves_faces_out(detect, photo, tmp_path):
    detect("--image", photo, "--json", tmp_path / "a.jsonl", "--confidence", "1.0")
    assert lines_of(tmp_path / "a.jsonl")[0]["faces"] == []


def test_class_names_can_be_given(detect, photo, tmp_path):
    detect("--image", photo, "--json", tmp_path / "a.jsonl", "--classes", "маска,none")
    assert lines_of(tmp_path / "a.jsonl")[0]["faces"][0]["label"] in {"маска", "none"}


# --- what fails, and what is done all the same ---


def test_an_input_without_images_beside_others_is_one_that_failed(detect, photo, tmp_path, errors):
    (tmp_path / "empty").mkdir()
    inputs = [tmp_path / "empty", photo, tmp_path / "*.jpg"]
    assert detect("--image", *inputs, "--output", tmp_path / "out") == cli.EXIT_SOME_FAILED
    assert [line.split(": ")[1] for line in errors()] == [str(tmp_path / "empty"), str(tmp_path / "*.jpg")]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [photo.name]


def test_an_old_output_is_replaced_by_the_new_one(detect, photo, tmp_path):
    output, records = tmp_path / "out.png", tmp_path / "a.jsonl"
    output.write_bytes(b"old")
    records.write_text("old")
    assert detect("--image", photo, "--output", output, "--json", records) == cli.EXIT_DONE
    assert read_image(output).shape == (240, 240, 3)
    assert len(lines_of(records)) == 1
    assert files_below(tmp_path) == ["a.jsonl", "out.png", "photos/portrait.png"]


def test_ctrl_c_keeps_what_was_done(detect, album, tmp_path, interrupt_after):
    interrupt_after(2)
    output, records = tmp_path / "out", tmp_path / "a.jsonl"
    assert detect("--image", album, "--output", output, "--json", records) == cli.EXIT_INTERRUPTED
    assert len(lines_of(records)) == 2
    assert files_below(output) == ["portrait.png", "summer/beach/portrait.png"]
    assert not list(tmp_path.rglob("*.part*"))


@pytest.mark.parametrize("confidence", ["-0.1", "1.1", "nan", "high"])
def test_a_confidence_outside_0_to_1_is_a_usage_error(detect, photo, confidence, capsys):
    with pytest.raises(SystemExit) as caught:
        detect("--image", photo, "--json", "-", f"--confidence={confidence}")
    assert caught.value.code == cli.EXIT_UNUSABLE
    assert "--confidence" in capsys.readouterr().err


def test_without_a_screen_and_an_output_there_is_nothing_to_do(photo, no_display, errors):
    assert detect_mask_image.main(["--image", str(photo)]) == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert "no window can be opened here" in error
    assert "--output" in error
    assert "--json" in error


# --- the window ---


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The images shown in a window that is not there; q is pressed at the second."""
    images: list[np.ndarray] = []
    monkeypatch.setattr("mask_detection.io.window.can_show_window", lambda: True)
    monkeypatch.setattr(cv2, "imshow", lambda _, image: images.append(image))
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
    monkeypatch.setattr(cv2, "waitKey", lambda _=0: ord(" ") if len(images) < 2 else ord("q"))
    return images


def test_photos_are_shown_until_q_and_the_rest_still_done(album, tiny_model, tmp_path, shown):
    files = ["--image", str(album), "--json", str(tmp_path / "a.jsonl"), "--model", str(tiny_model)]
    assert detect_mask_image.main([*files, "--detector", "haar"]) == cli.EXIT_DONE
    assert len(shown) == 2
    assert len(lines_of(tmp_path / "a.jsonl")) == 3


def test_large_photos_fit_on_the_screen(photo, portrait, tiny_model, shown):
    cv2.imwrite(str(photo), cv2.resize(portrait, (1024, 1200)))
    arguments = ["--image", photo, "--model", tiny_model, "--detector", "haar"]
    assert detect_mask_image.main([str(argument) for argument in arguments]) == cli.EXIT_DONE
    assert shown[0].shape[0] <= 900
    assert shown[0].shape[1] / shown[0].shape[0] == pytest.approx(1024 / 1200, abs=0.01)


# --- with the real weights, on real photos ---


def labels_found(records: Path, *options: str) -> dict[str, list[str]]:
    """The labels, sorted, that the shipped model gives the faces of each example."""
    photos = [str(EXAMPLES / name) for name in expected_labels()]
    status = detect_mask_image.main(["--image", *photos, "--json", str(records), "--no-display", *options])
    assert status == cli.EXIT_DONE
    return {Path(line["image"]).name: sorted(face["label"] for face in line["faces"]) for line in lines_of(records)}


def expected_labels() -> dict[str, list[str]]:
    expected = json.loads((EXAMPLES / "expected.json").read_text())
    return {name: sorted(face["label"] for face in faces) for name, faces in expected.items()}


def test_the_portraits_are_classified_right_in_a_fresh_clone(tmp_path):
    found = labels_found(tmp_path / "a.jsonl", "--detector", "haar")
    assert found["with_mask.jpg"] == ["with_mask"]
    assert found["without_mask.jpg"] == ["without_mask"]


def test_all_examples_are_classified_right_with_the_caffe_detector(shared, tmp_path):
    found = labels_found(tmp_path / "a.jsonl", "--detector", "caffe", "--face", str(shared / "face_detector"))
    assert found == expected_labels()


def street_faces(annotation: Path) -> list[dict]:
    """The faces of a VOC annotation as the project's records write them."""
    root = ElementTree.parse(annotation).getroot()  # noqa: S314 (our own data)
    faces = []
    for item in root.iter("object"):
        box = [int(item.findtext(f"bndbox/{corner}")) for corner in ("xmin", "ymin", "xmax", "ymax")]
        faces.append({"box": box, "label": item.findtext("name")})
    return faces


def test_street_photos_end_to_end(shared, tmp_path):
    photos = sorted((shared / "street" / "images").iterdir())[::125]
    records, output = tmp_path / "a.jsonl", tmp_path / "out"
    face = ["--detector", "caffe", "--face", str(shared / "face_detector")]
    files = ["--image", *map(str, photos), "--output", str(output), "--json", str(records)]

    assert detect_mask_image.main([*files, "--no-display", *face]) == cli.EXIT_DONE

    lines = lines_of(records)
    assert [Path(line["image"]) for line in lines] == photos
    assert len(files_below(output)) == len(photos)
    pairs = []
    for photo, line in zip(photos, lines, strict=True):
        assert read_image(output / photo.name).shape == (line["height"], line["width"], 3)
        truth = street_faces(shared / "street" / "annotations" / f"{photo.stem}.xml")
        overlaps = box_iou(*(np.array([f["box"] for f in faces]).reshape(-1, 4) for faces in (truth, line["faces"])))
        pairs += [(truth[i]["label"], line["faces"][j]["label"]) for i, j in np.argwhere(overlaps > 0.4)]
    certain = [(true, predicted) for true, predicted in pairs if true in {"with_mask", "without_mask"}]
    assert len(certain) >= 5
    assert sum(true == predicted for true, predicted in certain) >= 0.8 * len(certain)
