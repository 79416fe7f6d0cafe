"""The tests' browser notices what a person would: an error in a script, a picture that is missing, a call to another host."""

from tests.pages.browser import browser, local, watched


def test_what_goes_wrong_in_a_page_is_noticed(tmp_path):
    (tmp_path / "good.html").write_text("<title>good</title><p>hello</p>")
    (tmp_path / "bad.html").write_text(
        "<img src='none.png'><script>console.error('oh'); throw new Error('broken')</script>"
    )
    with browser() as opened:
        with watched(opened) as (page, wrong):
            page.goto((tmp_path / "good.html").as_uri())
            assert page.title() == "good" and wrong == []
        with watched(opened) as (page, wrong):
            page.goto((tmp_path / "bad.html").as_uri())
            page.wait_for_load_state()
            said = " ".join(wrong)
            assert "script: broken" in said and "console: oh" in said and "none.png" in said


def test_another_host_is_told_from_this_machine():
    assert local("file:///page.html") and local("http://127.0.0.1:8000/") and local("data:image/png;base64,AA")
    assert not local("https://cdn.example/x.js") and not local("http://127.0.0.1.example/")
