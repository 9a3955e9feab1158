from runner.masking import masked, masked_argv


def test_members_with_telling_names_are_masked_at_any_depth_r20() -> None:
    value = {"user": "ann", "Password": "p", "db": [{"api_key": "k", "port": 5}], "auth_token": {"a": 1}}
    assert masked(value) == {"user": "ann", "Password": "***", "db": [{"api_key": "***", "port": 5}], "auth_token": "***"}


def test_options_with_telling_names_are_masked_in_both_spellings_r20() -> None:
    argv = ["python", "main.py", "--token", "t", "--name=x", "--password=a=b", "--secret", "--verbose", "file"]
    assert masked_argv(argv) == [
        "python",
        "main.py",
        "--token",
        "***",
        "--name=x",
        "--password=***",
        "--secret",
        "--verbose",
        "file",
    ]
