"""push.items gives each page all items, whatever pages, server and browser do meanwhile.
Here, these are fakes at the wire and at the clock: ``tests/clients/items.mjs`` has the
cases, and ``stories.mjs`` plays what happens by chance."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fake_wire import cases
from support.fake_wire import is_noticed
from support.fake_wire import Mutant
from support.fake_wire import run


@pytest.mark.parametrize("case", cases("items.mjs"))
def test_the_items_of_a_page_are_right_where(case: str) -> None:
    status, said = run("items.mjs", case)
    assert status == 0, said


def test_no_item_is_missing_or_older_in_any_story() -> None:
    status, said = run("stories.mjs", 1, 400)
    assert status == 0, said


@pytest.mark.slow
def test_no_item_is_missing_or_older_in_many_stories() -> None:
    status, said = run("stories.mjs", 1000, 20_000)
    assert status == 0, said


STORIES = "1 600"

MUTANTS = [
    Mutant(
        "a page that comes later needs all items",
        'if (fresh) holds = "";',
        "",
        "a_page_that_comes_later_gets_all_items_too",
    ),
    Mutant(
        "the line connects again for a page that needs all items",
        "back || fresh ||",
        "back ||",
        "a_page_that_comes_later_gets_all_items_too",
    ),
    Mutant(
        "a page that has left its line needs all items",
        "one._items && !one._live",
        "false",
        "19 1",
    ),
    Mutant(
        "the line says that its pages have all items",
        'ask("holds", holds);',
        "",
        "after_a_cut_a_page_that_has_all_items_gets_changes_only",
    ),
    Mutant(
        "while items arrive, no page has all",
        'if (type == "push:items") holds = "";',
        "",
        "a_page_without_all_items_does_not_say_that_it_has_them",
    ),
    Mutant(
        "after a server of an older version, no page has all items",
        'if (!opened && items != "changes") holds = "";',
        "",
        "after_a_server_of_an_older_version_a_page_gets_all_items_again",
    ),
    Mutant(
        "after a server of an older version, changes may be missing",
        'if (!opened && items != "changes") holds = "";',
        "",
        STORIES,
    ),
    Mutant(
        "a push:open that is repeated does not mention items",
        "!opened && items",
        "items",
        "a_push_open_that_is_repeated_leaves_the_items_as_they_are",
    ),
    Mutant(
        "a page that gets changes only has all items",
        'if (!opened && items != "changes")',
        "if (!opened)",
        "a_push_open_that_is_repeated_leaves_the_items_as_they_are",
    ),
    Mutant(
        "the line says that its pages want items",
        'ask("items", +types.includes("push:unset"));',
        "",
        "a_channel_without_items_has_an_empty_map",
    ),
    Mutant(
        "old items are no events",
        " || isOld && !one._items",
        "",
        "subscriptions_get_each_change_as_an_event_and_nothing_that_is_repeated",
    ),
    Mutant(
        "there is no gap for items",
        "if (!_items && had && test",
        "if (had && test",
        "items_of_a_new_epoch_replace_all",
    ),
    Mutant(
        "all items may have the position that the page is at, or an older one",
        "!one._items && (ahead < 0 || ahead == 0 && first)",
        "(ahead < 0 || ahead == 0 && first)",
        STORIES,
    ),
    Mutant(
        "a line that did not listen to a type lacks items",
        "\n          && !(one._items && one._names.some((type) => !types.includes(type)))",
        "",
        "812 1",
    ),
    Mutant(
        "a page without the script gets an error that names it",
        'throw new TypeError("import items.js");',
        "",
        "push_js_alone_says_which_script_has_items",
    ),
    Mutant(
        "all items count, and not only those after the last replay",
        '_end: "", ',
        "",
        STORIES,
        "items",
    ),
    Mutant("items do not begin now", ", _made: 0", "", STORIES, "items"),
    Mutant(
        "all items have to arrive again",
        "_live: false, ",
        "",
        "data_that_is_not_json_is_an_error_and_no_item",
        "items",
    ),
    Mutant(
        "a page is called back when all items have arrived",
        "!this.#whole || ",
        "",
        "a_page_that_was_cut_off_amid_all_items_gets_all_again",
        "items",
    ),
    Mutant(
        "all items begin with none",
        "      this.#next = new Map();\n      this.#whole",
        "      this.#next ||= new Map(this.#items);\n      this.#whole",
        "the_old_items_stay_until_the_new_ones_are_whole",
        "items",
    ),
    Mutant(
        "of items that have not all arrived, none are",
        "      this.#whole = false;\n",
        "",
        "the_old_items_stay_until_the_new_ones_are_whole",
        "items",
    ),
    Mutant(
        "a page that leaves amid all items has none of them",
        '    one.on("push:reset", () => this.#next = null);\n',
        "",
        "a_page_that_left_amid_all_items_has_none_of_them",
        "items",
    ),
    Mutant(
        "an item that was not there is not gone",
        "if (value === undefined && !this.#items.has(item)) return;",
        "",
        STORIES,
        "items",
    ),
    Mutant(
        "push:items is for all channels, whatever id it has",
        ' && type != "push:items"',
        "",
        STORIES,
    ),
    Mutant(
        "a hub that is behind makes no item older",
        " || compare(id, this.#at) < 0",
        "",
        "a_hub_that_is_behind_makes_no_item_older",
        "items",
    ),
    Mutant(
        "a change that a page has is no change",
        " && !(compare(id, this.#at) <= 0)",
        "",
        STORIES,
        "items",
    ),
    Mutant(
        "an item that comes again has not changed",
        "if (!same(this.#items.get(item), next.get(item))) this",
        "this",
        "all_items_that_come_again_change_nothing",
        "items",
    ),
    Mutant(
        "an item that no longer comes is gone",
        "[...this.#items.keys(), ...next.keys()]",
        "[...next.keys()]",
        "the_old_items_stay_until_the_new_ones_are_whole",
        "items",
    ),
    Mutant(
        "an event is no item",
        "if (key === undefined) return;",
        "",
        "a_channel_without_items_has_an_empty_map",
        "items",
    ),
    Mutant(
        "only channels that the view granted are whole",
        "JSON.parse(data)[_list]?.includes(channel) && ",
        "",
        "wrong_arguments_are_errors",
        "items",
    ),
    Mutant(
        "a later callback gets all items",
        "one.begun ? changed : new Set(this.#items.keys())",
        "changed",
        "a_later_callback_gets_the_items_at_once_without_a_request",
        "items",
    ),
    Mutant(
        "data that is not JSON is no item",
        "          value = undefined;\n",
        "",
        "data_that_is_not_json_is_an_error_and_no_item",
        "items",
    ),
    Mutant(
        "the last callback that ends ends the subscription",
        " && !this.#callbacks.size",
        " && false",
        "what_is_ended_or_closed_gets_nothing_more",
        "items",
    ),
    Mutant(
        "a closed connection calls nothing back",
        "      this.#callbacks.clear();\n",
        "",
        "what_is_ended_or_closed_gets_nothing_more",
        "items",
    ),
    Mutant(
        "a closed connection has no items",
        "      ended();\n",
        "",
        "what_is_ended_or_closed_gets_nothing_more",
        "items",
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.safeguard for mutant in MUTANTS])
def test_a_case_fails_when_a_safeguard_of_items_is_removed(
    mutant: Mutant, tmp_path: Path
) -> None:
    script = "stories.mjs" if mutant.noticed[0].isdigit() else "items.mjs"
    is_noticed(mutant, script, tmp_path)
