package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"lockkeeper/cluster"
)

// Drift is the pull, or the issue, about a target whose live objects are not as
// they were applied last.
type Drift struct {
	// Key goes into the hidden marker: "drift/<repository id>/<cluster>:<target>".
	Key                                string
	Target, Cluster, Environment, Base string
	Since                              time.Time
	Findings                           []Finding
	// Pull is set for a pull, which can hold all but what is Refused; else it is
	// an issue.
	Pull    bool
	Refused []Refusal
	// Problems are why some objects could not be looked at.
	Problems []cluster.Problem
	// OnMerge is set where pulls are applied after their merge.
	OnMerge bool
	// Silence is how long an approver's closing keeps the bot quiet, Brief
	// anybody else's.
	Silence, Brief time.Duration
	Foreign        []string // commits on the branch that are not ours
	// AutoHeal is set where drift is put back without asking, HealRefused why the
	// gate did not let that happen, and Fight who undoes it.
	AutoHeal    bool
	HealRefused []string
	Fight       string
	// Digest is of the findings.
	Digest string
}

// Finding is one difference, and when lockkeeper first saw it.
type Finding struct {
	cluster.Finding
	Since time.Time
}

// Refusal is a difference that no edit of lockkeeper's can bring to Git. An
// empty Ref stands for all, an empty Path for the whole object. Patch is what
// people could do instead.
type Refusal struct {
	Ref                 cluster.Ref
	Path, Reason, Patch string
}

// driftWide is how much of a value the table shows.
const driftWide = 80

// Objects counts the objects that differ.
func (v Drift) Objects() int {
	seen := map[cluster.Ref]bool{}
	for _, f := range v.Findings {
		seen[f.Ref] = true
	}
	return len(seen)
}

// Title is the pull's, or the issue's.
func (v Drift) Title() string {
	return clip(oneLine(fmt.Sprintf("Drift: %s (%s changed live)", v.Target, count(v.Objects(), "object"))), 200)
}

// driftPage is Drift with the room there is for it: how many rows, and how many
// characters of the diff and of the patches, are shown.
type driftPage struct {
	Drift
	rows, text int
}

// driftRooms are tried from the first on until the body fits.
var driftRooms = []driftPage{{rows: 100, text: 30000}, {rows: 50, text: 10000}, {rows: 20, text: 4000}, {rows: 5}, {}}

// Body is the pull's or the issue's, within the forge's limit in characters.
func (v Drift) Body(limit int) (string, error) {
	name, body := "drift_issue.md", ""
	if v.Pull {
		name = "drift.md"
	}
	for _, p := range driftRooms {
		p.Drift = v
		s, err := fill(name, p)
		if err != nil {
			return "", err
		}
		if body = strings.TrimRight(s, "\n") + "\n"; limit <= 0 || size(body) <= limit {
			break
		}
	}
	return body, nil
}

// Shown are the findings that the table has room for, More counts the others.
func (v driftPage) Shown() []Finding { return v.Findings[:min(v.rows, len(v.Findings))] }

// More counts the findings that the table has no room for.
func (v driftPage) More() int { return len(v.Findings) - len(v.Shown()) }

// Row is one finding as a line of the table.
func (v driftPage) Row(f Finding) string {
	before, after := says(f)
	field := "the whole object"
	if f.Field.Path != "" {
		field = code(clip(f.Field.Path, 120))
	}
	if v.Pull && slices.ContainsFunc(v.Refused, func(r Refusal) bool { return r.of(f) }) {
		field += "<br>_reported only_"
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s |", cell(code(clip(f.Ref.String(), 120))), cell(field), cell(before), cell(after), cell(who(f)), when(f))
}

// of reports whether a refusal is of a finding.
func (r Refusal) of(f Finding) bool {
	return r.Ref == f.Ref && (r.Path == "" || r.Path == f.Field.Path)
}

// says is what Git and what the cluster say of a finding.
func says(f Finding) (git, live string) {
	switch f.Kind {
	case cluster.Gone:
		return "it is there", "**deleted**"
	case cluster.Remade:
		return "it is lockkeeper's", "**deleted, and made again** by something else"
	case cluster.Orphan:
		return "nothing", "it is still there"
	}
	before, after, _ := shownValues(f.Field, driftWide)
	git, live = inCell(before), inCell(after)
	if f.Field.Op == cluster.Add {
		git = "nothing"
	}
	if f.Field.Op == cluster.Remove {
		live = "**removed**"
	}
	if f.Kind == cluster.Disowned {
		live = "the same, but it is another manager's"
	}
	if f.Field.Masked && f.Kind == cluster.Changed {
		live = "another " + code(masked)
	}
	return git, live
}

func inCell(v any) string {
	lines := yamlLines(v)
	text := strings.TrimSpace(strings.Join(lines, " "))
	return code(clip(text, driftWide))
}

func who(f Finding) string {
	if len(f.Managers) == 0 {
		return "**nobody knows**"
	}
	var out []string
	for _, m := range f.Managers {
		out = append(out, code(clip(m, 60)))
	}
	return strings.Join(out, ", ")
}

// when is the cluster's word, or else when lockkeeper saw it first.
func when(f Finding) string {
	if f.At.IsZero() {
		return "seen " + f.Since.UTC().Format("2006-01-02 15:04 MST")
	}
	return f.At.UTC().Format("2006-01-02 15:04 MST")
}

// Diff is what differs, object by object, as people read it; "" if there is no
// room for any of it.
func (v driftPage) Diff() string {
	var blocks []string
	for i := 0; i < len(v.Findings); {
		d := cluster.Drift{Ref: v.Findings[i].Ref}
		for ; i < len(v.Findings) && v.Findings[i].Ref == d.Ref; i++ {
			f := v.Findings[i]
			d.Managers = append(d.Managers, f.Managers...)
			d.Deleted = d.Deleted || f.Kind == cluster.Gone
			switch f.Kind {
			case cluster.Changed, cluster.Removed, cluster.HandAdded:
				d.Fields = append(d.Fields, f.Field)
			}
		}
		slices.Sort(d.Managers)
		d.Managers = slices.Compact(d.Managers)
		if d.Deleted || len(d.Fields) > 0 {
			blocks = append(blocks, inComments.drift(d))
		}
	}
	text := strings.Join(blocks, "\n")
	if v.text == 0 || text == "" {
		return ""
	}
	return fenced("diff", bounded(text, v.text))
}

// Reasons are why something is reported only, each once, with its objects.
func (v driftPage) Reasons() []string {
	var out []string
	for i, r := range v.Refused {
		if i == max(v.rows, 5) {
			out = append(out, fmt.Sprintf("… and %d more", len(v.Refused)-i))
			break
		}
		what := ""
		if r.Ref.Name != "" {
			what = code(clip(r.Ref.String(), 120)) + ": "
		}
		if r.Path != "" {
			what = code(clip(r.Ref.String(), 120)) + ", " + code(clip(r.Path, 120)) + ": "
		}
		out = append(out, what+md(clip(r.Reason, 400)))
	}
	return out
}

// Patches are ready for people to use, as far as there is room.
func (v driftPage) Patches() string {
	var all []string
	for _, r := range v.Refused {
		if r.Patch != "" && !slices.Contains(all, r.Patch) {
			all = append(all, clean(r.Patch))
		}
	}
	text := strings.Join(all, "\n")
	if v.text == 0 || text == "" {
		return ""
	}
	return fenced("diff", bounded(text, v.text))
}

// Others are the first of the commits that are not ours.
func (v driftPage) Others() string {
	var out []string
	for _, sha := range v.Foreign[:min(3, len(v.Foreign))] {
		out = append(out, md(short(sha)))
	}
	return strings.Join(out, ", ")
}

// Unseen are the problems that keep objects from being looked at.
func (v driftPage) Unseen() []string {
	var out []string
	for _, p := range v.Problems[:min(len(v.Problems), 5)] {
		text := ""
		if p.Ref != nil {
			text = code(clip(p.Ref.String(), 120)) + ": "
		}
		out = append(out, text+md(clip(p.Message, 300)))
	}
	return out
}

// Text shows foreign text in a sentence.
func (v driftPage) Text(s string) string { return md(clip(s, 600)) }

// Quiet is a time of silence as people say it.
func (v driftPage) Quiet(d time.Duration) string {
	if days := d / (24 * time.Hour); days > 1 && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%d days", days)
	}
	return strings.TrimSuffix(strings.TrimSuffix(d.String(), "0s"), "0m")
}

// MassDrift is the issue about so many changes on a cluster at once that single
// targets are not told of.
type MassDrift struct {
	Key           string // "mass/<repository id>/<cluster>"
	Cluster       string
	Since         time.Time
	Over          bool
	Objects, Gone int
	Targets       []MassTarget
}

// MassTarget is a target among many that changed.
type MassTarget struct {
	Name, Environment string
	Objects           int
	By                []string
}

// Title is the issue's.
func (v MassDrift) Title() string { return clip(oneLine("Many changes on cluster "+v.Cluster), 200) }

// massPage is MassDrift with the room there is for it.
type massPage struct {
	MassDrift
	Shown []MassTarget
	More  int
}

// Body is the issue's, within the forge's limit in characters.
func (v MassDrift) Body(limit int) (string, error) {
	for shown := min(100, len(v.Targets)); ; shown /= 2 {
		s, err := fill("drift_mass.md", massPage{v, v.Targets[:shown], len(v.Targets) - shown})
		if body := strings.TrimRight(s, "\n") + "\n"; err != nil || shown == 0 || limit <= 0 || size(body) <= limit {
			return body, err
		}
	}
}

// Row is one target as a line of the table.
func (v massPage) Row(t MassTarget) string {
	by := make([]string, 0, 3)
	for _, m := range t.By[:min(3, len(t.By))] {
		by = append(by, code(clip(m, 60)))
	}
	return fmt.Sprintf("| %s | %s | %d | %s |", cell(code(t.Name)), cell(code(t.Environment)), t.Objects, cell(cmp.Or(strings.Join(by, ", "), "**nobody knows**")))
}
