// The components of the page, in a window of tests/docs/test_docs_hooks.py.
import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { Comments, Prices } from "./page";
import { useItems, usePresence, useStreamState } from "./push";

interface Shown {
  prices: number;
  channel?: string;
  comments?: { position: string; comments: string[] };
  present?: boolean;
}

declare global {
  interface Window {
    show: (shown: Shown) => void;
  }
}

function Items({ channel }: { channel: string }) {
  const items = useItems<number>(channel);
  return <p id="items">{items ? [...items].join(" ") : "…"}</p>;
}

function Present() {
  const present = usePresence<{ name: string }>("lobby");
  const names = present?.members.map(({ info }) => info.name);
  return <p id="present">{present ? `${names} ${present.count}` : "…"}</p>;
}

function State() {
  return <p id="state">{useStreamState()}</p>;
}

function All() {
  const [{ prices, channel, comments, present }, show] = useState<Shown>({ prices: 0 });
  window.show = show;
  return (
    <>
      <State />
      {Array.from({ length: prices }, (_, n) => <Prices key={n} />)}
      {channel && <Items channel={channel} />}
      {comments && <Comments {...comments} />}
      {present && <Present />}
    </>
  );
}

createRoot(document.body).render(
  <StrictMode>
    <All />
  </StrictMode>,
);
