"""How the page of a search looks: light or dark as the reader has it, and on paper."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --ink: #222222; --quiet: #666666; --faint: #dddddd;
  --paper: #ffffff; --raised: #f6f7f8; --good: #2166ac; --bad: #d6604d; --open: #8a8a8a;
  --font: system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --quiet: #a0a4aa; --faint: #3a3f46;
  --paper: #15181c; --raised: #1e2329; --good: #6aaee6; --bad: #f08a76; --open: #a0a0a0; } }
* { box-sizing: border-box; }
body { font: 16px/1.55 var(--font); color: var(--ink); background: var(--paper);
  max-width: 70rem; margin: 2.5rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0; } p.lead { color: var(--quiet);
  margin: .3rem 0; }
h2 { font-size: 1.2rem; margin: 0 0 .6rem; } h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
section { margin: 2.6rem 0; } ul { padding-left: 1.2rem; margin: .6rem 0; } li { margin: .3rem 0; }
.wide { overflow-x: auto; }
svg { width: 100%; min-width: var(--least, 0); height: auto; display: block; }
.verdict { background: var(--raised); border-left: 5px solid var(--open); border-radius: 6px;
  padding: 1.1rem 1.4rem; }
.verdict.good { border-color: var(--good); } .verdict.bad { border-color: var(--bad); }
.facts { display: flex; flex-wrap: wrap; gap: 1rem 2.6rem; margin-top: 1rem; }
.facts div { display: flex; flex-direction: column; min-width: 8rem; }
.facts .name { color: var(--quiet); font-size: .85rem; }
.facts .value { font-size: 1.5rem; font-weight: 600; line-height: 1.3; }
.facts .below { color: var(--quiet); font-size: .85rem; }
.meter { display: block; height: 6px; border-radius: 3px; background: var(--faint);
  margin: 2px 0 4px; }
.meter i { display: block; height: 100%; border-radius: 3px; background: var(--good); }
.strip { white-space: nowrap; } .strip b { display: inline-block; min-width: 1.35em;
  padding: 0 .2em;
  margin-right: 1px; text-align: center; font: 600 .78rem/1.6 var(--font); border-radius: 2px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .28rem .9rem .28rem 0; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { border-bottom: 1px solid var(--quiet); font-weight: 600; }
  td { border-bottom: 1px solid var(--faint); }
.designs th:nth-child(-n+3), .designs td:nth-child(-n+3) { text-align: left; }
.designs td:first-child { padding-left: .6rem; border-left: 4px solid transparent; }
.designs .front td:first-child { border-left-color: var(--good); }
.designs .hand td:first-child { border-left-color: #c08a00; }
small { color: var(--quiet); }
pre { background: var(--raised); padding: 1rem; overflow-x: auto; font-size: .85rem;
  border-radius: 6px; }
details summary { cursor: pointer; margin: .5rem 0; }
@media print { :root { --ink: #000; --quiet: #444; --faint: #ccc; --paper: #fff; --raised: #fff; }
  body { max-width: none; margin: 0; font-size: 11px; } section { break-inside: avoid;
  margin: 1.2rem 0; }
  #designs, #settings { break-inside: auto; } tr { break-inside: avoid; } details { display: none; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
