from control_plane.call_sid import call_sid


def test_a_number_is_seen_in_it_and_any_other_name_is_hashed():
    assert call_sid("5f1c0a") == "CA0000000000000000000000000" + "05f1c0a"
    others = {call_sid(name) for name in ("", "Ünnamed", "f" * 33, "5F1C0A")}
    assert len(others) == 4 and all(len(sid) == 34 and sid.startswith("CA") for sid in others)
