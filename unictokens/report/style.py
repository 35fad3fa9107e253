"""The look of the page: its only style sheet, light and dark."""

STYLE = """
:root { --ink:#1c2330; --soft:#667085; --line:#e4e7ec; --paper:#ffffff; --ground:#f5f6f8; --band:#f7f8fa; --band2:#eef1f6;
  --blue:#3b6fe0; --orange:#e07b28; --grey:#8a94a6; --green:#178a50; --red:#c8372d; }
@media (prefers-color-scheme: dark) { :root { --ink:#e8ebf0; --soft:#98a2b3; --line:#2c3442; --paper:#181d26; --ground:#10141b;
  --band:#1b212c; --band2:#212938; --blue:#7ba4ff; --orange:#ffa45c; --grey:#98a2b3; --green:#4cc38a; --red:#ff7a70; } }
* { box-sizing:border-box }
body { margin:0; background:var(--ground); color:var(--ink); font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif }
main { max-width:1180px; margin:0 auto; padding:32px 24px 64px }
h1 { font-size:28px; letter-spacing:-.02em; margin:0 } h2 { font-size:21px; letter-spacing:-.01em; margin:0 }
h3 { font-size:12px; font-weight:600; letter-spacing:.06em; text-transform:uppercase; color:var(--soft); margin:22px 0 8px }
p { margin:4px 0 } .soft { color:var(--soft) } code { font:13px ui-monospace,monospace }
.tiles { display:flex; flex-wrap:wrap; gap:12px; margin:20px 0 24px }
.tile { background:var(--paper); border:1px solid var(--line); border-radius:12px; padding:12px 18px; min-width:118px }
.tile b { display:block; font-size:22px; font-weight:650; letter-spacing:-.01em } .tile span { color:var(--soft); font-size:13px }
.card { background:var(--paper); border:1px solid var(--line); border-radius:14px; padding:22px 24px; margin:0 0 20px }
.head { display:flex; align-items:baseline; gap:12px; flex-wrap:wrap }
.badge { font-size:12px; font-weight:600; padding:2px 10px; border-radius:99px; border:1px solid currentColor; color:var(--soft) }
.badge.finished { color:var(--green) } .badge.failed { color:var(--red) }
.error { color:var(--red); margin-top:8px }
table { border-collapse:collapse; width:100% } th { text-align:left; font-weight:600; font-size:13px; color:var(--soft) }
th,td { padding:8px 14px 8px 0; border-bottom:1px solid var(--line); vertical-align:middle } tr:last-child td { border-bottom:0 }
td.num { font-variant-numeric:tabular-nums; white-space:nowrap } td a { color:inherit; font-weight:600 }
.scroll { overflow-x:auto }
.thumb { width:44px; height:44px; border-radius:8px; object-fit:cover; display:inline-block; background:var(--band2); margin-right:4px;
  vertical-align:middle }
.row { display:flex; flex-wrap:wrap; gap:10px }
figure { margin:0 } figure img { width:108px; height:108px; object-fit:cover; border-radius:10px; display:block; background:var(--band2) }
figure.small img { width:80px; height:80px; border-radius:8px }
.exchange figure { flex:none }
figcaption { font-size:12px; color:var(--soft); margin-top:4px; max-width:136px } .gone { width:108px; font-size:11px; color:var(--red) }
.grid { display:grid; gap:8px; width:max-content } .grid .label { font-size:12px; color:var(--soft); text-align:center }
.grid .stage { font-size:12px; font-weight:600; text-align:center; border-bottom:2px solid var(--line); padding-bottom:2px }
.charts { display:grid; grid-template-columns:repeat(auto-fit,minmax(320px,1fr)); gap:18px } .chart b { font-size:13px }
svg { width:100%; height:auto; display:block } svg text { font:11px system-ui,sans-serif; fill:var(--soft) }
svg .stage { font-weight:600 } svg .grid { stroke:var(--line); stroke-width:1 } svg .band { fill:var(--band) } svg .band.odd { fill:var(--band2) }
svg .line { fill:none; stroke-width:2; stroke-linejoin:round; stroke:var(--grey) } svg .dot { fill:var(--grey) }
svg .line.understanding { stroke:var(--blue) } svg .dot.understanding { fill:var(--blue) }
svg .line.generation { stroke:var(--orange) } svg .dot.generation { fill:var(--orange) }
.asked { display:grid; grid-template-columns:repeat(auto-fit,minmax(300px,1fr)); gap:12px }
.exchange { display:flex; gap:12px; border:1px solid var(--line); border-radius:12px; padding:10px 12px; background:var(--band) }
.exchange img { width:64px; height:64px; border-radius:8px; object-fit:cover; flex:none } .exchange .q { color:var(--soft) }
.exchange .a { font-weight:600 }
.pair { display:flex; flex-wrap:wrap; gap:0 40px } .pair>div { min-width:0 } .grid .side { align-self:center; text-align:right; padding-right:4px }
.row.tight { gap:5px } .drawings { gap:14px 24px } .note { font-size:12px } .answers { font-size:13px } .answers td { vertical-align:top; max-width:190px; overflow-wrap:anywhere }
.answers td:first-child { min-width:150px }
footer { color:var(--soft); font-size:13px; margin-top:28px }
"""
