"""The benchmark of the start reads sets as large as they are said to be."""

from benchmarks import startup


def test_each_reader_has_the_whole_set(tmp_path, monkeypatch):
    monkeypatch.setattr(startup, "LINKS", 3)
    files = [f"{name}/{number}.jpg" for name in ("n01440764", "n01443537") for number in range(4)]
    startup.link_images(tmp_path / "train", files)
    assert len({path.stat().st_ino for path in tmp_path.rglob("*.jpg")}) == 3
    for reader in (startup.image_net, startup.torchvision_folder):
        assert len(reader(tmp_path)()) == 8

    pictures = ["0.jpg", "1.jpg", "2.jpg"]
    startup.link_images(tmp_path / "train2017", pictures)
    size = startup.write_annotations(tmp_path / "train.json", pictures, 9)
    assert 9 * 400 < size < 9 * 800 + 8000
    for reader in (startup.coco, startup.mmdet_coco):
        data = reader(tmp_path)()
        assert [len(data.get_data_info(i)["instances"]) for i in range(3)] == [3, 3, 3]
    assert len(startup.pycocotools(tmp_path)()["annotations"]) == 9
    seconds, peak, kept = startup.in_its_own_process(startup.torchvision_folder, tmp_path)
    assert seconds < 5 and 0 <= kept <= peak < 1
