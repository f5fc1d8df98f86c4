package rest

import (
	"encoding/base64"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/internal/graphql"
	"lockkeeper/forge/forgetest/internal/hub"
)

var dataRoutes = []route{
	{"GET /repos/{owner}/{repo}/git/ref/{ref...}", "read", "contents:read", getRef},
	{"POST /repos/{owner}/{repo}/git/refs", "write", "contents:write", createRef},
	{"PATCH /repos/{owner}/{repo}/git/refs/{ref...}", "write", "contents:write", updateRef},
	{"DELETE /repos/{owner}/{repo}/git/refs/{ref...}", "write", "contents:write", deleteRef},
	{"POST /repos/{owner}/{repo}/git/blobs", "write", "contents:write", createBlob},
	{"POST /repos/{owner}/{repo}/git/trees", "write", "contents:write", createTree},
	{"GET /repos/{owner}/{repo}/git/commits/{commit_sha}", "read", "contents:read", getGitCommit},
	{"POST /repos/{owner}/{repo}/git/commits", "write", "contents:write", createGitCommit},
	{"POST /graphql", "", "", graphQL},
}

func (c *call) refJSON(ref, sha string) obj {
	return obj{
		"ref": ref, "node_id": "REF_" + ref, "url": c.s.APIRepo(c.repo) + "/git/" + ref,
		"object": obj{"type": "commit", "sha": sha, "url": c.s.APIRepo(c.repo) + "/git/commits/" + sha},
	}
}

func getRef(c *call) reply {
	ref := "refs/" + c.r.PathValue("ref")
	if sha := c.repo.Refs[ref]; sha != "" {
		return ok(c.refJSON(ref, sha))
	}
	return notFound()
}

// moveRef moves a ref as a push by the caller would, rules of the branch included.
func (c *call) moveRef(ref, sha string) reply {
	before := c.repo.Refs[ref]
	for _, list := range c.s.Guards(c.repo, c.cred) {
		if before != "" && strings.HasPrefix(list, "FORGETEST_LOCKED=") && strings.Contains(list+" ", ref+" ") {
			return refuse(http.StatusUnprocessableEntity, "Changes must be made through a pull request.")
		}
	}
	if err := c.repo.Git.SetRef(c.ctx, ref, sha, ""); err != nil {
		return refuse(http.StatusUnprocessableEntity, "Object does not exist")
	}
	if err := c.s.RefsMoved(c.ctx, c.repo, c.actor()); err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	return reply{}
}

type refInput struct {
	Ref, SHA string
	Force    bool
}

func createRef(c *call) reply {
	var in refInput
	if out, good := c.decode(&in); !good {
		return out
	}
	if !strings.HasPrefix(in.Ref, "refs/") || strings.Count(in.Ref, "/") < 2 || strings.HasPrefix(in.Ref, "refs/pull/") {
		return refuse(http.StatusUnprocessableEntity, "Reference name is not valid")
	}
	if c.repo.Refs[in.Ref] != "" {
		return refuse(http.StatusUnprocessableEntity, "Reference already exists")
	}
	if _, err := c.repo.Git.Resolve(c.ctx, in.SHA); err != nil {
		return refuse(http.StatusUnprocessableEntity, "Object does not exist")
	}
	if out := c.moveRef(in.Ref, in.SHA); out.status != 0 {
		return out
	}
	return created(c.refJSON(in.Ref, in.SHA))
}

func updateRef(c *call) reply {
	var in refInput
	if out, good := c.decode(&in); !good {
		return out
	}
	ref := "refs/" + c.r.PathValue("ref")
	before := c.repo.Refs[ref]
	if before == "" {
		return refuse(http.StatusUnprocessableEntity, "Reference does not exist")
	}
	if !in.Force && !c.repo.Git.IsAncestor(c.ctx, before, in.SHA) {
		return refuse(http.StatusUnprocessableEntity, "Update is not a fast forward")
	}
	if out := c.moveRef(ref, in.SHA); out.status != 0 {
		return out
	}
	return ok(c.refJSON(ref, in.SHA))
}

func deleteRef(c *call) reply {
	ref := "refs/" + c.r.PathValue("ref")
	if c.repo.Refs[ref] == "" {
		return refuse(http.StatusUnprocessableEntity, "Reference does not exist")
	}
	if out := c.moveRef(ref, ""); out.status != 0 {
		return out
	}
	return noContent()
}

func createBlob(c *call) reply {
	var in struct{ Content, Encoding string }
	if out, good := c.decode(&in); !good {
		return out
	}
	content := in.Content
	if in.Encoding == "base64" {
		raw, err := base64.StdEncoding.DecodeString(in.Content)
		if err != nil {
			return invalid("Blob", "content", "invalid", "")
		}
		content = string(raw)
	}
	sha, err := c.repo.Git.Git(c.ctx, nil, content, "hash-object", "-w", "--stdin")
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	sha = strings.TrimSpace(sha)
	return created(obj{"sha": sha, "url": c.s.APIRepo(c.repo) + "/git/blobs/" + sha})
}

type treeEntry struct {
	Path, Mode, Type string
	SHA              *string
	Content          *string
}

func createTree(c *call) reply {
	var in struct {
		BaseTree string `json:"base_tree"`
		Tree     []treeEntry
	}
	if out, good := c.decode(&in); !good {
		return out
	}
	var files []bare.File
	for _, e := range in.Tree {
		f := bare.File{Path: e.Path, Mode: e.Mode}
		switch {
		case e.Content != nil:
			f.Content = []byte(*e.Content)
		case e.SHA != nil:
			blob, err := c.repo.Git.Git(c.ctx, nil, "", "cat-file", "blob", *e.SHA)
			if err != nil {
				return refuse(http.StatusUnprocessableEntity, "tree.sha "+*e.SHA+" is not a valid blob")
			}
			f.Content = []byte(blob)
		}
		files = append(files, f)
	}
	tree, err := c.repo.Git.WriteTree(c.ctx, in.BaseTree, filepath.Join(c.s.Root, "index-api"), files)
	if err != nil {
		return refuse(http.StatusUnprocessableEntity, err.Error())
	}
	out, err := c.repo.Git.Git(c.ctx, nil, "", "ls-tree", "-r", tree)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	items := []any{}
	for line := range strings.Lines(out) {
		meta, path, _ := strings.Cut(strings.TrimSpace(line), "\t")
		f := strings.Fields(meta)
		items = append(items, obj{"mode": f[0], "type": f[1], "sha": f[2], "path": path, "url": c.s.APIRepo(c.repo) + "/git/blobs/" + f[2]})
	}
	return created(obj{"sha": tree, "url": c.s.APIRepo(c.repo) + "/git/trees/" + tree, "truncated": false, "tree": items})
}

func (c *call) gitCommitJSON(m bare.Commit) obj {
	parents := []any{}
	for _, p := range m.Parents {
		parents = append(parents, obj{"sha": p, "url": c.s.APIRepo(c.repo) + "/git/commits/" + p, "html_url": c.s.URL + "/" + c.repo.Full() + "/commit/" + p})
	}
	return obj{
		"sha": m.SHA, "node_id": hub.CommitNode(c.repo, m.SHA), "url": c.s.APIRepo(c.repo) + "/git/commits/" + m.SHA,
		"html_url": c.s.URL + "/" + c.repo.Full() + "/commit/" + m.SHA, "author": hub.GitPerson(m.Author), "committer": hub.GitPerson(m.Committer),
		"message": m.Message, "tree": obj{"sha": m.Tree, "url": c.s.APIRepo(c.repo) + "/git/trees/" + m.Tree}, "parents": parents,
		"verification": hub.Verification(c.repo, m.SHA),
	}
}

func getGitCommit(c *call) reply {
	m, err := c.repo.Git.Commit(c.ctx, c.r.PathValue("commit_sha"))
	if err != nil {
		return notFound()
	}
	return ok(c.gitCommitJSON(m))
}

// createGitCommit writes a commit. One that an App writes without naming an
// author is its bot's, and signed by the forge.
func createGitCommit(c *call) reply {
	var in struct {
		Message, Tree     string
		Parents           []string
		Author, Committer *struct {
			Name, Email string
			Date        time.Time
		}
	}
	if out, good := c.decode(&in); !good {
		return out
	}
	at := c.s.Tick()
	m := bare.Commit{Tree: in.Tree, Parents: in.Parents, Message: in.Message}
	m.Author = bare.Person{Name: c.actor().Login, Email: c.actor().Email(), When: at}
	m.Committer = m.Author
	if in.Author != nil {
		m.Author = bare.Person{Name: in.Author.Name, Email: in.Author.Email, When: at}
		m.Committer = m.Author
	}
	if in.Committer != nil {
		m.Committer = bare.Person{Name: in.Committer.Name, Email: in.Committer.Email, When: at}
	}
	signed := c.viaApp() && in.Author == nil && in.Committer == nil
	if signed {
		m.Committer = bare.Person{Name: "GitHub", Email: c.s.WebFlow.Email(), When: at}
	}
	sha, err := c.repo.Git.CommitTree(c.ctx, m)
	if err != nil {
		return refuse(http.StatusUnprocessableEntity, "Tree SHA does not exist")
	}
	c.repo.WebSigned[sha] = signed
	m.SHA = sha
	return created(c.gitCommitJSON(m))
}

func graphQL(c *call) reply {
	if c.cred == nil {
		return refuse(http.StatusUnauthorized, "This endpoint requires you to be authenticated.")
	}
	var in struct {
		Query     string
		Variables map[string]any
	}
	if out, good := c.decode(&in); !good {
		return out
	}
	return ok(graphql.Answer(c.ctx, c.s.Hub, c.cred, in.Query, in.Variables))
}
