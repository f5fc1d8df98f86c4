// Package templates holds the words of everything lockkeeper says in a pull,
// one file for each kind of comment. bot/report fills them in.
package templates

import "embed"

// FS holds the templates, in the syntax of text/template (Markdown) and html/template (pages).
//
//go:embed *.md *.html
var FS embed.FS
