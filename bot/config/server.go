package config

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// Server is the operator's file: which forges, clusters and repositories there
// are, and what a repository can never loosen.
type Server struct {
	// Listen is the address of the webhook door; default ":8080".
	Listen string `yaml:"listen,omitempty" json:"listen,omitempty"`
	// Store is the path of the SQLite file, or the address of a PostgreSQL
	// database that replicas share: postgres://USER@HOST/DATABASE.
	Store string `yaml:"store" json:"store"`
	// StorePasswordFile holds the password of the PostgreSQL user.
	StorePasswordFile string `yaml:"storePasswordFile,omitempty" json:"storePasswordFile,omitempty"`
	// Cache is a directory for Git mirrors and what Git needs; all of it can be
	// thrown away while lockkeeper does not run. Every replica needs one of its own.
	Cache string `yaml:"cache" json:"cache"`
	// CacheLimit is how much the mirrors may take up: beyond it the least
	// recently used go, and are fetched again when needed; default 10GiB.
	CacheLimit Bytes `yaml:"cacheLimit,omitempty" json:"cacheLimit,omitempty"`
	// Drain is how long work under way may go on after SIGTERM, before it is
	// handed over; default 30s.
	Drain  Duration `yaml:"drain,omitempty" json:"drain,omitempty"`
	Forges `yaml:",inline"`
	// Clusters by the names that targets use.
	Clusters map[string]Cluster `yaml:"clusters" json:"clusters"`
	// Repositories that are handled; all others are ignored.
	Repositories []Repository `yaml:"repositories" json:"repositories"`
	// Floors hold beside what a repository's file says, whatever that is.
	Floors Policy `yaml:"floors,omitempty" json:"floors,omitempty"`
	// Sweep is how often open pulls are compared with what the bot knows, in
	// case a webhook was lost; default 5m.
	Sweep Duration `yaml:"sweep,omitempty" json:"sweep,omitempty"`
	// MaxDeletes refuses a plan that deletes more objects of a target than
	// this; default 25.
	MaxDeletes int `yaml:"maxDeletes,omitempty" json:"maxDeletes,omitempty" jsonschema:"minimum=1"`
}

// Cluster is how to reach one cluster.
type Cluster struct {
	// Kubeconfig is a file; empty means the pod's own service account.
	Kubeconfig string `yaml:"kubeconfig,omitempty" json:"kubeconfig,omitempty"`
	// Context within the kubeconfig; empty means its current one.
	Context string `yaml:"context,omitempty" json:"context,omitempty"`
}

// ApplyMode is when a pull is applied.
type ApplyMode string

// The apply modes.
const (
	ApplyOnComment ApplyMode = "comment" // on /apply, which then merges
	ApplyOnMerge   ApplyMode = "merge"   // after the merge
)

// Repository is what the operator allows one repository.
type Repository struct {
	// ID is the forge's number; it decides. Name (owner/name, on GitLab also
	// group/subgroup/project) is for people.
	ID   int64  `yaml:"id" json:"id" jsonschema:"minimum=1"`
	Name string `yaml:"name" json:"name"`
	// Bases are the branches whose pulls are handled; default: the default branch.
	Bases []string `yaml:"bases,omitempty" json:"bases,omitempty"`
	// Apply is when pulls are applied; default comment.
	Apply ApplyMode `yaml:"apply,omitempty" json:"apply,omitempty" jsonschema:"enum=comment,enum=merge"`
	// Merge is how /apply merges; default squash.
	Merge forge.MergeMethod `yaml:"merge,omitempty" json:"merge,omitempty" jsonschema:"enum=merge,enum=squash,enum=rebase"`
	// Allow are the places that the repository's targets may have.
	Allow []Allowance `yaml:"allow" json:"allow" jsonschema:"minItems=1"`
}

// Ref is the repository as the forge package names it.
func (r Repository) Ref() forge.RepoRef {
	at := strings.LastIndexByte(r.Name, '/')
	return forge.RepoRef{ID: r.ID, Owner: r.Name[:max(at, 0)], Name: r.Name[at+1:]}
}

// Watched are the branches whose pulls are handled: Bases, or else what the forge
// says is the default branch.
func (r Repository) Watched(repo forge.Repo) []string {
	if len(r.Bases) > 0 {
		return r.Bases
	}
	return []string{repo.DefaultBranch}
}

// Allowance lets targets under Paths use clusters and environments, within a
// fence. A target needs one allowance that permits all it asks for.
type Allowance struct {
	Paths        []string `yaml:"paths" json:"paths" jsonschema:"minItems=1"`
	Clusters     []string `yaml:"clusters" json:"clusters" jsonschema:"minItems=1"`
	Environments []string `yaml:"environments" json:"environments" jsonschema:"minItems=1"`
	// Namespaces are globs; see the fence in the README.
	Namespaces []string `yaml:"namespaces" json:"namespaces"`
	// ClusterKinds are cluster-scoped kinds, as ClusterRole.rbac.authorization.k8s.io.
	ClusterKinds []string `yaml:"clusterKinds,omitempty" json:"clusterKinds,omitempty"`
}

// ParseServer reads the operator's file and fills in defaults. The error is of
// type Problems.
func ParseServer(name string, data []byte) (*Server, error) {
	var s Server
	d := decode(name, data, &s)
	if d.decoded {
		s.validateNumbers(d)
		s.defaults()
		s.validate(d)
	}
	return &s, d.outcome()
}

// validateNumbers looks at numbers that have a default: leaving them out is
// fine, writing a nonsensical one is not.
func (s *Server) validateNumbers(d *document) {
	if d.has([]any{"maxDeletes"}) && s.MaxDeletes < 1 {
		d.add(fmt.Sprintf("maxDeletes: got %d, want 1 or more; leave it out for 25", s.MaxDeletes), "maxDeletes")
	}
	if d.has([]any{"sweep"}) && s.Sweep < Duration(time.Second) {
		d.add(fmt.Sprintf("sweep: got %v, want 1s or more; leave it out for 5m", time.Duration(s.Sweep)), "sweep")
	}
	if d.has([]any{"drain"}) && (s.Drain < Duration(time.Second) || s.Drain > Duration(maxTimeout)) {
		d.add(fmt.Sprintf("drain: got %v, want 1s to %v; leave it out for 30s", time.Duration(s.Drain), maxTimeout), "drain")
	}
	if d.has([]any{"cacheLimit"}) && s.CacheLimit < 1<<20 {
		d.add(fmt.Sprintf("cacheLimit: got %v, want 1MiB or more; leave it out for 10GiB", s.CacheLimit), "cacheLimit")
	}
}

func (s *Server) defaults() {
	if s.Listen == "" {
		s.Listen = ":8080"
	}
	if s.Sweep == 0 {
		s.Sweep = Duration(5 * time.Minute)
	}
	if s.CacheLimit == 0 {
		s.CacheLimit = 10 << 30
	}
	if s.Drain == 0 {
		s.Drain = Duration(30 * time.Second)
	}
	if s.MaxDeletes == 0 {
		s.MaxDeletes = 25
	}
	s.Forges.defaults()
	for i := range s.Repositories {
		r := &s.Repositories[i]
		if r.Apply == "" {
			r.Apply = ApplyOnComment
		}
		if r.Merge == "" {
			r.Merge = forge.MethodSquash
		}
	}
}

func (s *Server) validate(d *document) {
	require := func(ok bool, msg string, at ...any) {
		if !ok {
			d.add(msg, at...)
		}
	}
	s.validateStore(d)
	require(s.Cache != "", "cache: missing; give a directory for Git mirrors")
	s.validateForges(d)
	for _, name := range sortedKeys(s.Clusters) {
		require(validName(name), fmt.Sprintf("clusters: the name %q; want letters, digits, '.', '_', '-' and '/'", name), "clusters", name)
	}
	require(len(s.Clusters) > 0, "clusters: none given; name at least one", "clusters")
	require(len(s.Repositories) > 0, "repositories: none given; list those that lockkeeper should handle, by id", "repositories")
	ids := map[int64]int{}
	for i, r := range s.Repositories {
		if first, ok := ids[r.ID]; ok {
			d.add(fmt.Sprintf("repositories[%d].id: %d is taken by repositories[%d]", i, r.ID, first), "repositories", i, "id")
		}
		ids[r.ID] = i
		s.validateRepository(d, i, r)
	}
	s.Floors.validate(d.at("floors"))
}

func (s *Server) validateRepository(d *document, i int, r Repository) {
	at := func(field, msg string) {
		d.add(fmt.Sprintf("repositories[%d].%s: %s", i, field, msg), "repositories", i, field)
	}
	if r.ID <= 0 {
		at("id", "missing; the forge's number of the repository decides which one is meant, names can be given up")
	}
	if problem := checkName(s.Kind(), r.Name); problem != "" {
		at("name", problem)
	}
	if r.Apply != ApplyOnComment && r.Apply != ApplyOnMerge {
		at("apply", fmt.Sprintf("got %q, want comment or merge", r.Apply))
	}
	if !slices.Contains([]forge.MergeMethod{forge.MethodMerge, forge.MethodSquash, forge.MethodRebase}, r.Merge) {
		at("merge", fmt.Sprintf("got %q, want merge, squash or rebase", r.Merge))
	}
	if len(r.Allow) == 0 {
		at("allow", "nothing is allowed; say which paths may go to which clusters and environments")
	}
	for j, a := range r.Allow {
		s.validateAllowance(d, i, j, a)
	}
}

func (s *Server) validateAllowance(d *document, i, j int, a Allowance) {
	at := func(field, msg string) {
		d.add(fmt.Sprintf("repositories[%d].allow[%d].%s: %s", i, j, field, msg), "repositories", i, "allow", j, field)
	}
	for _, g := range a.Paths {
		if !doublestar.ValidatePattern(g) {
			at("paths", fmt.Sprintf("%q is not a glob", g))
		}
	}
	for _, g := range a.Namespaces {
		if _, err := path.Match(g, ""); err != nil {
			at("namespaces", fmt.Sprintf("%q is not a glob", g))
		}
	}
	for _, c := range a.Clusters {
		if _, ok := s.Clusters[c]; !ok {
			at("clusters", fmt.Sprintf("%q is not among clusters (%s)", c, strings.Join(sortedKeys(s.Clusters), ", ")))
		}
	}
	for _, l := range []struct {
		field string
		list  []string
	}{{"paths", a.Paths}, {"clusters", a.Clusters}, {"environments", a.Environments}} {
		if len(l.list) == 0 {
			at(l.field, "none given")
		}
	}
}

// Repository finds the operator's entry of a repository id.
func (s *Server) Repository(id int64) (Repository, bool) {
	i := slices.IndexFunc(s.Repositories, func(r Repository) bool { return r.ID == id })
	if i < 0 {
		return Repository{}, false
	}
	return s.Repositories[i], true
}

// Fence is what the allowance lets a target touch.
func (a Allowance) Fence() cluster.Fence {
	return cluster.Fence{Namespaces: a.Namespaces, ClusterKinds: a.ClusterKinds}
}

// permits reports whether the allowance covers a target.
func (a Allowance) permits(dir, clusterName, environment string) bool {
	return slices.ContainsFunc(a.Paths, func(g string) bool { return doublestar.MatchUnvalidated(g, dir) }) &&
		slices.Contains(a.Clusters, clusterName) && slices.Contains(a.Environments, environment)
}
