// The look of the page on screens of any width, in light and dark mode, and on paper; and the small
// script that sorts tables and shows the tips of the plots' marks without a mouse.
#include "html.h"

namespace ram {

// Series: Okabe and Ito's colours, darker or lighter for contrast, each with its own shape.
// Formats: a ramp of lightness (cividis), each with its text.
const char* const kReportStyle = R"css(
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1b1b;--soft:#595959;--line:#d4d4d4;--panel:#f6f6f4;
--reference:#1b1b1b;--own:#0062a3;--uniform:#b34700;--published:#8a3c72;--other:#00705a;--warn:#8a4b00;--warnbg:#fff4df}
@media(prefers-color-scheme:dark){:root{--bg:#151617;--fg:#ececec;--soft:#a9a9a9;--line:#3d3f42;--panel:#1e2022;
--reference:#ececec;--own:#63b3ed;--uniform:#f0a35e;--published:#dd9cc4;--other:#4cc9a4;--warn:#ffce7a;--warnbg:#33280f}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif}
main{max-width:1100px;margin:0 auto;padding:0 16px 48px}
h1{font-size:1.7rem;line-height:1.2;margin:24px 0 4px}
h2{font-size:1.25rem;margin:40px 0 8px;padding-top:8px;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:20px 0 4px}
p{margin:8px 0;max-width:75ch}
.soft,.sub{color:var(--soft)}
.sub{margin-top:0;overflow-wrap:anywhere}
.verdict{font-size:1.1rem}
.warning{border-left:4px solid var(--warn);background:var(--warnbg);padding:8px 12px;color:var(--fg)}
.missing{border:1px dashed var(--line);padding:8px 12px;color:var(--soft)}
code{font:0.9em ui-monospace,monospace;overflow-wrap:anywhere}
nav{font-size:.9rem}nav a{margin-right:12px;display:inline-block;padding:2px 0}
a{color:var(--own)}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:16px;align-items:start}
figure{margin:8px 0;background:var(--panel);padding:8px;border-radius:6px;min-width:0;max-width:620px}
figcaption{font-size:.85rem;color:var(--soft);padding:0 4px}
figcaption b{color:var(--fg);font-weight:600}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{font:12px system-ui,sans-serif;fill:var(--fg);paint-order:stroke;stroke:var(--panel);stroke-width:3px}
svg text.on-light,svg text.on-dark,svg text.on-fill{stroke:none}
svg .on-fill{fill:var(--panel);font-size:10px}
svg .tick{fill:var(--soft);font-size:11px}
svg .grid-line{stroke:var(--line);stroke-width:1}
svg .axis{stroke:var(--soft);stroke-width:1}
svg .guide{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 3}
svg .band{fill:var(--soft);opacity:.16}
.reference{--c:var(--reference)}.own{--c:var(--own)}.uniform{--c:var(--uniform)}
.published{--c:var(--published)}.other{--c:var(--other)}.line0{--c:var(--own)}.line1{--c:var(--uniform)}
.line2{--c:var(--published)}.line3{--c:var(--other)}
svg .mark{fill:var(--c);stroke:var(--panel);stroke-width:1}
svg .hollow{fill:var(--panel);stroke:var(--c);stroke-width:2}
svg .bar{stroke:var(--c);stroke-width:2}
svg .path{fill:none;stroke:var(--c);stroke-width:2}
svg .dash{stroke-dasharray:5 4}
svg .fill{fill:var(--c)}
svg .fill.faded,svg .faded .mark,svg .faded .bar{opacity:.45}
svg .faded text{fill:var(--soft)}
.o0{opacity:1}.o1{opacity:.72}.o2{opacity:.5}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:.85rem;padding:4px;margin:0;list-style:none}
.legend svg{width:14px;height:14px;display:inline-block;vertical-align:-2px;margin-right:4px}
.b2{fill:#fee838}.b3{fill:#d6c258}.b4{fill:#b8aa6c}.b5{fill:#9d9577}.b6{fill:#62666f}.b8{fill:#3b496c}.b16{fill:#00224e}
svg .on-light{fill:#111}svg .on-dark{fill:#fff}
svg .cell{stroke:var(--panel);stroke-width:1}
.scroll{overflow-x:auto;max-width:100%}
.map svg{width:auto;max-width:none}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums;margin:8px 0}
th,td{padding:4px 10px;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap}
th{font-weight:600;vertical-align:bottom;white-space:normal;min-width:3.5em}
.js th{cursor:pointer}th[aria-sort=ascending]::after{content:" \2191"}th[aria-sort=descending]::after{content:" \2193"}
.n{text-align:right}.faint td{color:var(--soft)}
td:last-child:not(.n){white-space:normal;min-width:13em;overflow-wrap:anywhere}
details{margin:8px 0}summary{cursor:pointer}
.csv{font-size:.8rem;color:var(--soft)}
pre{overflow:auto;max-height:280px;background:var(--panel);padding:8px;font:12px/1.4 ui-monospace,monospace}
#tip{position:fixed;z-index:9;max-width:320px;padding:6px 10px;background:var(--fg);color:var(--bg);font-size:.8rem;
border-radius:4px;pointer-events:none;white-space:pre-line;display:none}
footer{margin-top:40px;color:var(--soft);font-size:.85rem}
@media print{:root{--bg:#fff;--fg:#000;--soft:#444;--line:#bbb;--panel:#fff;--reference:#000;--own:#0062a3;--uniform:#b34700;
--published:#8a3c72;--other:#00705a}body{font-size:10.5pt}main{max-width:none;padding:0}.csv,nav,#tip{display:none}
figure,table,tr{break-inside:avoid}h2,h3{break-after:avoid}.scroll{overflow:visible}.map svg{width:100%;height:auto}
table{font-size:7.5pt}th,td{padding:2px 4px}th{min-width:0}}
)css";

const char* const kReportScript = R"js(
document.documentElement.classList.add('js');
for(const th of document.querySelectorAll('th'))th.addEventListener('click',()=>{
const table=th.closest('table'),body=table.tBodies[0],at=[...th.parentNode.children].indexOf(th);
const up=th.getAttribute('aria-sort')!=='ascending';
for(const other of th.parentNode.children)other.removeAttribute('aria-sort');
th.setAttribute('aria-sort',up?'ascending':'descending');
const key=row=>{const cell=row.children[at],text=cell.dataset.v??cell.textContent,n=parseFloat(text);
return th.classList.contains('n')?(isNaN(n)?-Infinity:n):text.toLowerCase()};
[...body.rows].sort((a,b)=>{const x=key(a),y=key(b);return(x<y?-1:x>y?1:0)*(up?1:-1)}).forEach(r=>body.append(r))});
const tip=document.getElementById('tip');
document.addEventListener('click',event=>{
const mark=event.target.closest('svg [data-tip]');
if(!mark){tip.style.display='none';return}
tip.textContent=mark.dataset.tip;tip.style.display='block';
tip.style.left=Math.max(4,Math.min(event.clientX+8,innerWidth-tip.offsetWidth-4))+'px';
tip.style.top=Math.max(4,Math.min(event.clientY+12,innerHeight-tip.offsetHeight-4))+'px'});
document.addEventListener('scroll',()=>{tip.style.display='none'},{passive:true});
)js";

}  // namespace ram
