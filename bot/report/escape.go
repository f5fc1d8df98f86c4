package report

import "lockkeeper/bot/report/escape"

// Foreign text goes through these: see their package.
var (
	clean, oneLine, clip        = escape.Clean, escape.OneLine, escape.Clip
	md, code, cell, html, link  = escape.Markdown, escape.Code, escape.Cell, escape.HTML, escape.Link
	fenced, fenceOf             = escape.Fenced, escape.FenceOf
	shortRuns, longestRun, size = escape.ShortRuns, escape.LongestRun, escape.Size
)

const maxRun = escape.MaxRun
