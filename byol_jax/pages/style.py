"""How pages look: colours of the light and the dark page, and all else in CSS.

Colours of texts and marks have a contrast of 4.5 or more on both grounds (a test
computes it). No meaning hangs on a colour alone.
"""

COLOURS = '''
:root { color-scheme: light dark; --page: #f6f8fa; --ink: #1f2328; --soft: #59636e;
  --line: #d1d9e0; --card: #ffffff; --good: #1a7f37; --bad: #cf222e;
  --c0: #0969da; --c1: #bc4c00; --c2: #1a7f37; --c3: #8250df; --c4: #bf3989;
  --c5: #7d4e00; --c6: #57606a; --c7: #1b7c83; --c8: #5d6b00; --c9: #3b3fa8 }
@media screen and (prefers-color-scheme: dark) { :root {
  --page: #0d1117; --ink: #f0f6fc; --soft: #9198a1; --line: #3d444d; --card: #151b23;
  --good: #3fb950; --bad: #f85149; --c0: #4493f8; --c1: #f0883e; --c2: #3fb950;
  --c3: #ab7df8; --c4: #db61a2; --c5: #d29922; --c6: #8b949e; --c7: #39c5cf;
  --c8: #b4c13c; --c9: #a5b4fc } }
@media print { :root { color-scheme: light; --page: #ffffff } }'''

PAGE = '''
* { box-sizing: border-box }
html { scroll-padding-top: 3.2rem; -webkit-text-size-adjust: 100% }
body { margin: 0 auto; padding: 1.4rem 1.2rem 3rem; max-width: 76rem;
  background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere }
h2 { font-size: 1.25rem; line-height: 1.25; margin: 2.4rem 0 .4rem }
h3 { font-size: .95rem; line-height: 1.3; margin: 0; overflow-wrap: anywhere }
p { margin: .4rem 0; max-width: 46rem; overflow-wrap: anywhere }
ul { margin: .4rem 0; padding-left: 1.2rem; max-width: 46rem; overflow-wrap: anywhere }
a { color: var(--c0) }
:target h2 { text-decoration: underline }
nav { position: sticky; top: 0; z-index: 3; display: flex; gap: .1rem; overflow-x: auto;
  margin: .9rem -.5rem 0; padding: .4rem 0; background: var(--page);
  border-bottom: 1px solid var(--line); white-space: nowrap }
nav a { color: var(--soft); text-decoration: none; padding: .15rem .5rem;
  border-radius: 6px; font-size: .9rem }
nav a:hover, nav a:focus-visible { color: var(--ink); background: var(--card) }
.soft, figcaption, caption { color: var(--soft); font-size: .87rem }
.lead { font-size: 1.05rem }
.warning { border: 1px solid var(--bad); border-left-width: 5px; border-radius: 6px;
  padding: .5rem .8rem; background: var(--card) }
.warning code { display: inline-block; max-width: 100% }
.warning::before { content: '\\26a0\\fe0e\\a0'; color: var(--bad) }
.good::before { content: '\\2713\\a0' } .bad::before { content: '\\2717\\a0' }
.good { color: var(--good) } .bad { color: var(--bad) }
progress { width: min(100%, 46rem); height: .6rem; accent-color: var(--c0) }
.wide { overflow-x: auto; max-width: 100%; width: fit-content; margin: .7rem 0;
  background: var(--card); border: 1px solid var(--line); border-radius: 8px }
.wide > svg { max-width: none }
table { border-collapse: collapse; font-size: .9rem }
caption { text-align: left; padding: .5rem .8rem .2rem }
th, td { text-align: left; padding: .3rem .8rem; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: break-word; min-width: 3.2rem }
th { color: var(--soft); font-weight: 600; white-space: nowrap }
tbody tr:last-child td { border-bottom: 0 }
td:first-child > code { white-space: nowrap }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap }
code, pre { font: .83rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere;
  white-space: pre-wrap }
pre { padding: .7rem .8rem; margin: .4rem 0; background: var(--card);
  border: 1px solid var(--line); border-radius: 8px }
pre span { display: inline-block; max-width: 100% }
data { white-space: nowrap }
figure { margin: 0 }
.beside { display: flex; flex-wrap: wrap; gap: 0 1.4rem; align-items: flex-start }
figcaption { overflow-wrap: anywhere; line-height: 1.3; margin-top: 5px;
  font-size: .8rem }
.cards { display: grid; gap: .9rem; align-items: start; margin: .7rem 0 1.4rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)) }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .7rem .8rem }
.cards > .card { height: 100% }
.cards .wide { border: 0; margin: .2rem -.8rem -.4rem; width: auto }
.cards .wide table { width: 100% }
.kind { color: var(--soft); font-size: .87rem; font-weight: 600; margin: 1rem 0 0 }
.pictures { display: grid; gap: .7rem;
  grid-template-columns: repeat(auto-fill, minmax(5.5rem, 7rem)) }
.row { display: flex; flex-wrap: wrap; gap: .6rem; align-items: flex-start;
  margin: .9rem 0 }
.row figure, .pictures figure { max-width: 7rem; flex: 0 1 auto }
img, .gone { display: block; border-radius: 4px; max-width: 100%; width: 7rem;
  aspect-ratio: 1; object-fit: contain; background: var(--card) }
.gone { display: grid; place-items: center; border: 1px dashed var(--soft);
  color: var(--soft); font-size: .75rem }
.right img, .right .gone { outline: 3px solid var(--good) }
.wrong img, .wrong .gone { outline: 3px dashed var(--bad) }
.query img, .query .gone { outline: 3px solid var(--ink) }
svg { display: block; max-width: 100%; height: auto }
details { margin: .7rem 0 } summary { cursor: pointer; padding: .2rem 0 }
.share { display: block; width: 7rem; height: .55rem; margin: .45rem 0;
  border-radius: 3px; background: var(--line) }
.share i { display: block; height: 100%; border-radius: 3px; background: var(--c0) }
@media (max-width: 34rem) { body { padding: 1rem .8rem 2rem } h1 { font-size: 1.45rem }
  th, td { padding: .3rem .55rem } .share { width: 3.5rem } }
@media print { body { max-width: none; font-size: 11px } nav { display: none }
  figure, tr, .card { break-inside: avoid } * { print-color-adjust: exact } }'''
