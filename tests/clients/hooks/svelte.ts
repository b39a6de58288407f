// The components of the page, in a window of tests/docs/test_docs_hooks.py.
import { mount } from "svelte";
import All from "./All.svelte";

mount(All, { target: document.body });
