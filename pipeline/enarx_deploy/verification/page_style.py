"""How the page of a report looks: light and dark, on a screen, a phone and on paper."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root {
  --paper: #f6f7f9; --card: #ffffff; --ink: #1b2330; --soft: #5b6675; --line: #d9dee6;
  --good: #136b3d; --good-tint: #e7f5ed; --bad: #b3261e; --bad-tint: #fcebea; --none: #5a6574; --warn: #8a5a00;
  --warn-tint: #fdf3dd;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #12161c; --card: #1b2129; --ink: #e6eaf0; --soft: #9aa6b5; --line: #303945;
    --good: #5ccf93; --good-tint: #16301f; --bad: #ff8a80; --bad-tint: #3a1a1a; --none: #8b97a6; --warn: #f0c060;
    --warn-tint: #33290f;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif;
}
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1, h2, h3, p, ol, ul, dl, dd { margin: 0; }
h1 { font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 0.75rem; }
h3 { font-size: 0.82rem; text-transform: uppercase; letter-spacing: 0.06em; color: var(--soft); margin-bottom: 0.4rem; }
code { font: 0.86em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
p, li, td, dd, code { overflow-wrap: anywhere; }
.verdict { border-radius: 14px; padding: 1.25rem 1.4rem; border: 1px solid; }
.verdict.passed { background: var(--good-tint); border-color: var(--good); }
.verdict.failed { background: var(--bad-tint); border-color: var(--bad); }
.verdict.unprotected { background: var(--warn-tint); border-color: var(--warn); }
.said { font-weight: 700; margin-bottom: 0.2rem; }
.passed .said { color: var(--good); }
.failed .said { color: var(--bad); }
.unprotected .said { color: var(--warn); }
.when { color: var(--soft); margin-top: 0.35rem; }
.answers article {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1rem 1.2rem;
  margin-bottom: 0.75rem;
}
.columns { display: grid; grid-template-columns: 1fr 1fr; gap: 1.25rem; align-items: end; }
.links ol { list-style: none; padding: 0; }
.links li {
  position: relative; background: var(--card); border: 1px solid var(--line); border-left: 5px solid var(--none);
  border-radius: 10px; padding: 0.65rem 0.9rem; margin-bottom: 1.5rem;
}
.links li:not(:last-child)::after {
  content: "\\2193"; position: absolute; left: 1.2rem; bottom: -1.5rem; color: var(--soft); line-height: 1.5rem;
}
.title { font-weight: 600; }
.mark { display: inline-block; width: 1.35rem; font-weight: 700; }
.detail { color: var(--soft); font-size: 0.9rem; }
li.holds { border-left-color: var(--good); }
li.holds .mark, .passed .mark, span.holds { color: var(--good); }
li.broken { border-left-color: var(--bad); background: var(--bad-tint); }
li.broken .mark, .failed .mark, span.broken { color: var(--bad); }
li.aside { border-style: dashed; border-left-style: dashed; }
li.aside .mark, .skipped .mark, span.aside { color: var(--none); }
li.absent { border-left-color: var(--warn); background: var(--warn-tint); }
li.absent .mark, span.absent { color: var(--warn); }
.columns li:last-child { margin-bottom: 0; }
.joint { text-align: center; color: var(--soft); font-size: 0.85rem; padding: 0.35rem 0; }
.joint::before { content: "\\2198\\00a0\\00a0"; }
.joint::after { content: "\\00a0\\00a0\\2199"; }
.legend { font-size: 0.85rem; }
.legend span { margin-right: 1.25rem; white-space: nowrap; }
.failures ul { list-style: none; padding: 0; }
.failures li {
  background: var(--card); border: 1px solid var(--line); border-left: 5px solid var(--bad); border-radius: 10px;
  padding: 0.75rem 1rem; margin-bottom: 0.75rem;
}
.failures code { font-weight: 700; color: var(--bad); }
.hint { font-weight: 600; }
.hint::before { content: "\\2192\\00a0"; }
table { width: 100%; border-collapse: collapse; font-size: 0.9rem; background: var(--card); }
th { text-align: left; color: var(--soft); font-weight: 600; }
th, td { padding: 0.45rem 0.6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td.mark { display: table-cell; width: 2rem; }
td:nth-child(2) { width: 15rem; }
td.reference { color: var(--soft); width: 13rem; }
tr.failed { background: var(--bad-tint); }
.facts h3 { margin-top: 1.25rem; }
dl { display: grid; grid-template-columns: minmax(8rem, 14rem) 1fr; gap: 0.2rem 1rem; font-size: 0.9rem; }
dt { color: var(--soft); }
@media (max-width: 44rem) {
  main { padding: 1rem 0.75rem 3rem; }
  .columns { grid-template-columns: 1fr; }
  thead { display: none; }
  tr { display: grid; grid-template-columns: 2rem 1fr; padding: 0.4rem 0; border-bottom: 1px solid var(--line); }
  td, td:nth-child(2), td.reference { border: 0; width: auto; padding: 0.1rem 0.4rem; }
  td:nth-child(3), td.reference { grid-column: 2; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 0.5rem; }
}
@media print {
  :root {
    --paper: #ffffff; --card: #ffffff; --ink: #000000; --soft: #444444; --line: #bbbbbb; --good: #145c37;
    --good-tint: #ffffff; --bad: #8f1d17; --bad-tint: #ffffff; --none: #555555; --warn: #6b4600; --warn-tint: #ffffff;
  }
  body { font-size: 11pt; }
  main { max-width: none; padding: 0; }
  article, .links li, .failures li, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
}
"""
