// Package command reads the chat commands that people write in the comments
// of a pull. One table names them all; the parser, /help and the README's
// list derive from it.
//
// A command is a whole line of a top-level paragraph, in ASCII, that starts
// with a slash: "/approve", or "/lockkeeper approve" where the forge or another
// bot takes the short word for itself. What stands in code, quotes, lists, tables, headings, HTML or
// comments is not a command, so that nobody can be made to give one by
// quoting or pasting (threat 21). Whether the author may give it, and whether
// the comment was edited, is not decided here.
package command

import (
	"fmt"
	"slices"
	"strings"
)

// Prefix begins the long spelling of every command.
const Prefix = "/lockkeeper"

// Name identifies a command: its word without the slash.
type Name string

// The commands.
const (
	Plan      Name = "plan"
	Apply     Name = "apply"
	Cancel    Name = "cancel"
	Approve   Name = "approve"
	Unapprove Name = "unapprove"
	Hold      Name = "hold"
	Unhold    Name = "unhold"
	Unlock    Name = "unlock"
	Ticket    Name = "ticket"
	Override  Name = "override"
	Reviewed  Name = "reviewed"
	Sync      Name = "sync"
	Restore   Name = "restore"
	Rollback  Name = "rollback"
	Status    Name = "status"
	Explain   Name = "explain"
	Help      Name = "help"
)

// The choices of /unlock.
const (
	PutBack = "restore" // put the base branch's state back
	Keep    = "keep"    // leave the clusters as they are
)

// Spec is one row of the table.
type Spec struct {
	Name    Name
	Aliases []string
	// Args is the usage of the arguments: [optional], choice|choice, WORD.
	Args    string
	Summary string // what it does, one line
	Who     string // who may use it, in words
	Example string

	read func(p *Parsed, args []string) error
	free bool // the rest of the line is text for people
}

// Usage is the command with its arguments, e.g. "/apply [target...] [sha]".
func (s Spec) Usage() string {
	return strings.TrimSpace("/" + string(s.Name) + " " + s.Args)
}

// Who may use a command, in the words of the table.
const (
	anyone    = "anyone who can comment"
	writers   = "write access"
	approvers = "an approver who is not a contributor"
)

// Table lists all commands in the order in which people meet them.
func Table() []Spec {
	return []Spec{
		{
			Name: Plan, Aliases: []string{"diff"}, Args: "[sha]",
			Summary: "Plan again and update the plan comment; with the head's hash, admit the head of a fork",
			Who:     "write access; the author on a branch of this repository",
			Example: "/plan", read: readSHA,
		},
		{
			Name: Apply, Args: "[target...] [sha]",
			Summary: "Apply what was approved (all targets, or those named), then merge; with a hash, only if it is still the head",
			Who:     writers, Example: "/apply staging", read: readTargetsAndSHA,
		},
		{
			Name: Cancel, Summary: "Stop a running apply between two objects; what was done stays until you go on or back",
			Who: writers, Example: "/cancel", read: readNothing,
		},
		{
			Name: Approve, Args: "[digest]",
			Summary: "Approve the plan as shown; with its digest, only if it is still that plan",
			Who:     approvers, Example: "/approve", read: readDigest,
		},
		{
			Name: Unapprove, Summary: "Take your approval back",
			Who: "whoever approved", Example: "/unapprove", read: readNothing,
		},
		{
			Name: Hold, Args: "[reason]", Summary: "Keep this pull from being applied until /unhold",
			Who: writers, Example: "/hold until the sale is over", read: readText, free: true,
		},
		{
			Name: Unhold, Summary: "Lift the hold",
			Who: writers, Example: "/unhold", read: readNothing,
		},
		{
			Name: Unlock, Args: PutBack + "|" + Keep,
			Summary: "Give up the targets this pull holds: put the base branch's state back, or leave the clusters as they are",
			Who:     approvers, Example: "/unlock restore", read: readChoice,
		},
		{
			Name: Ticket, Args: "ID [FROM TO]",
			Summary: "Name the change ticket, with the window in which it lets this be applied, where the policy asks for one",
			Who:     writers, Example: "/ticket CHG0012345 2026-12-01T22:00Z 2026-12-02T02:00Z", read: readTicket,
		},
		{
			Name: Override, Args: "REASON",
			Summary: "Break the glass: stand in for approvals and conditions that are missing; somebody else has to review it afterwards",
			Who:     "whom the policy names", Example: "/override checkout is down, INC-77", read: readReason, free: true,
		},
		{
			Name: Reviewed, Args: "[remark]",
			Summary: "Close the review that an override of this pull owes",
			Who:     approvers + ", nor the one who overrode", Example: "/reviewed", read: readText, free: true,
		},
		{
			Name: Sync, Args: "TARGET", Summary: "Plan the base branch's state for a target whose cluster is new or empty",
			Who: writers, Example: "/sync staging", read: readTarget,
		},
		{
			Name: Restore, Summary: "On a drift pull: plan to put what was applied last back in place of what was changed live",
			Who: writers, Example: "/restore", read: readNothing,
		},
		{
			Name: Rollback, Args: "[to SHA|#PULL]",
			Summary: "Open a pull that undoes this one, or all up to a commit of the base branch or a merged pull",
			Who:     writers, Example: "/rollback to #41", read: readRollback,
		},
		{
			Name: Status, Summary: "Say where this pull stands and what is missing",
			Who: anyone, Example: "/status", read: readNothing,
		},
		{
			Name: Explain, Summary: "Show every rule, who fulfils it and who could",
			Who: anyone, Example: "/explain", read: readNothing,
		},
		{
			Name: Help, Summary: "List the commands",
			Who: anyone, Example: "/help", read: readNothing,
		},
	}
}

// Lookup finds a command by its name or an alias, without the slash.
func Lookup(word string) (Spec, bool) {
	for _, s := range Table() {
		if string(s.Name) == word {
			return s, true
		}
		for _, alias := range s.Aliases {
			if alias == word {
				return s, true
			}
		}
	}
	return Spec{}, false
}

// Spell is a command line as people have to write it where the forge takes the
// reserved words for itself: "/approve" becomes "/lockkeeper approve".
func Spell(line string, reserved []string) string {
	word, _ := cutWord(line)
	if name := strings.TrimPrefix(word, "/"); name != word && slices.Contains(reserved, name) {
		return Prefix + " " + line[1:]
	}
	return line
}

// spelled is the bare command, as Spell writes it.
func (s Spec) spelled(reserved []string) string { return Spell("/"+string(s.Name), reserved) }

// Markdown is the table for people: the answer to /help, and the README's list.
// Reserved words are spelled as Spell does.
func Markdown(reserved ...string) string {
	var b strings.Builder
	b.WriteString("| Command | What it does | Who | Example |\n|---|---|---|---|\n")
	cell := strings.NewReplacer("|", `\|`).Replace
	for _, s := range Table() {
		usage := "`" + Spell(s.Usage(), reserved) + "`"
		for _, alias := range s.Aliases {
			usage += " (or `" + Spell("/"+alias, reserved) + "`)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | `%s` |\n", cell(usage), cell(s.Summary), cell(s.Who), cell(Spell(s.Example, reserved)))
	}
	return b.String()
}
