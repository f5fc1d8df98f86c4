package rest

import (
	"encoding/base64"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/internal/api"
	"lockkeeper/forge/forgetest/internal/graphql"
	"lockkeeper/forge/forgetest/internal/hub"
)

var dataRoutes = []route{
	api.On("GET /repos/{owner}/{repo}/git/ref/{ref...}", "read", "contents:read", getRef),
	api.On("POST /repos/{owner}/{repo}/git/refs", "write", "contents:write", createRef),
	api.On("PATCH /repos/{owner}/{repo}/git/refs/{ref...}", "write", "contents:write", updateRef),
	api.On("DELETE /repos/{owner}/{repo}/git/refs/{ref...}", "write", "contents:write", deleteRef),
	api.On("POST /repos/{owner}/{repo}/git/blobs", "write", "contents:write", createBlob),
	api.On("POST /repos/{owner}/{repo}/git/trees", "write", "contents:write", createTree),
	api.On("GET /repos/{owner}/{repo}/git/commits/{commit_sha}", "read", "contents:read", getGitCommit),
	api.On("POST /repos/{owner}/{repo}/git/commits", "write", "contents:write", createGitCommit),
	api.On("POST /graphql", "", "", graphQL),
}

func refJSON(c *call, ref, sha string) obj {
	return obj{
		"ref": ref, "node_id": "REF_" + ref, "url": c.Hub.APIRepo(c.Repo) + "/git/" + ref,
		"object": obj{"type": "commit", "sha": sha, "url": c.Hub.APIRepo(c.Repo) + "/git/commits/" + sha},
	}
}

func getRef(c *call) reply {
	ref := "refs/" + c.Request.PathValue("ref")
	if sha := c.Repo.Refs[ref]; sha != "" {
		return api.OK(refJSON(c, ref, sha))
	}
	return api.NotFound()
}

// moveRef moves a ref as a push by the caller would, rules of the branch included.
func moveRef(c *call, ref, sha string) reply {
	before := c.Repo.Refs[ref]
	for _, list := range c.Hub.Guards(c.Repo, c.Cred) {
		if before != "" && strings.HasPrefix(list, "FORGETEST_LOCKED=") && strings.Contains(list+" ", ref+" ") {
			return api.Refuse(http.StatusUnprocessableEntity, "Changes must be made through a pull request.")
		}
	}
	if err := c.Repo.Git.SetRef(c.Ctx, ref, sha, ""); err != nil {
		return api.Refuse(http.StatusUnprocessableEntity, "Object does not exist")
	}
	if err := c.Hub.RefsMoved(c.Ctx, c.Repo, c.Actor()); err != nil {
		return api.Refuse(http.StatusInternalServerError, err.Error())
	}
	return reply{}
}

type refInput struct {
	Ref, SHA string
	Force    bool
}

func createRef(c *call) reply {
	var in refInput
	if out, good := c.Decode(&in); !good {
		return out
	}
	if !strings.HasPrefix(in.Ref, "refs/") || strings.Count(in.Ref, "/") < 2 || strings.HasPrefix(in.Ref, "refs/pull/") {
		return api.Refuse(http.StatusUnprocessableEntity, "Reference name is not valid")
	}
	if c.Repo.Refs[in.Ref] != "" {
		return api.Refuse(http.StatusUnprocessableEntity, "Reference already exists")
	}
	if _, err := c.Repo.Git.Resolve(c.Ctx, in.SHA); err != nil {
		return api.Refuse(http.StatusUnprocessableEntity, "Object does not exist")
	}
	if out := moveRef(c, in.Ref, in.SHA); out.Status != 0 {
		return out
	}
	return api.Created(refJSON(c, in.Ref, in.SHA))
}

func updateRef(c *call) reply {
	var in refInput
	if out, good := c.Decode(&in); !good {
		return out
	}
	ref := "refs/" + c.Request.PathValue("ref")
	before := c.Repo.Refs[ref]
	if before == "" {
		return api.Refuse(http.StatusUnprocessableEntity, "Reference does not exist")
	}
	if !in.Force && !c.Repo.Git.IsAncestor(c.Ctx, before, in.SHA) {
		return api.Refuse(http.StatusUnprocessableEntity, "Update is not a fast forward")
	}
	if out := moveRef(c, ref, in.SHA); out.Status != 0 {
		return out
	}
	return api.OK(refJSON(c, ref, in.SHA))
}

func deleteRef(c *call) reply {
	ref := "refs/" + c.Request.PathValue("ref")
	if c.Repo.Refs[ref] == "" {
		return api.Refuse(http.StatusUnprocessableEntity, "Reference does not exist")
	}
	if out := moveRef(c, ref, ""); out.Status != 0 {
		return out
	}
	return api.NoContent()
}

func createBlob(c *call) reply {
	var in struct{ Content, Encoding string }
	if out, good := c.Decode(&in); !good {
		return out
	}
	content := in.Content
	if in.Encoding == "base64" {
		raw, err := base64.StdEncoding.DecodeString(in.Content)
		if err != nil {
			return api.Invalid("Blob", "content", "invalid", "")
		}
		content = string(raw)
	}
	sha, err := c.Repo.Git.Git(c.Ctx, nil, content, "hash-object", "-w", "--stdin")
	if err != nil {
		return api.Refuse(http.StatusInternalServerError, err.Error())
	}
	sha = strings.TrimSpace(sha)
	return api.Created(obj{"sha": sha, "url": c.Hub.APIRepo(c.Repo) + "/git/blobs/" + sha})
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
	if out, good := c.Decode(&in); !good {
		return out
	}
	var files []bare.File
	for _, e := range in.Tree {
		f := bare.File{Path: e.Path, Mode: e.Mode}
		switch {
		case e.Content != nil:
			f.Content = []byte(*e.Content)
		case e.SHA != nil:
			blob, err := c.Repo.Git.Git(c.Ctx, nil, "", "cat-file", "blob", *e.SHA)
			if err != nil {
				return api.Refuse(http.StatusUnprocessableEntity, "tree.sha "+*e.SHA+" is not a valid blob")
			}
			f.Content = []byte(blob)
		}
		files = append(files, f)
	}
	tree, err := c.Repo.Git.WriteTree(c.Ctx, in.BaseTree, filepath.Join(c.Hub.Root, "index-api"), files)
	if err != nil {
		return api.Refuse(http.StatusUnprocessableEntity, err.Error())
	}
	out, err := c.Repo.Git.Git(c.Ctx, nil, "", "ls-tree", "-r", tree)
	if err != nil {
		return api.Refuse(http.StatusInternalServerError, err.Error())
	}
	items := []any{}
	for line := range strings.Lines(out) {
		meta, path, _ := strings.Cut(strings.TrimSpace(line), "\t")
		f := strings.Fields(meta)
		items = append(items, obj{"mode": f[0], "type": f[1], "sha": f[2], "path": path, "url": c.Hub.APIRepo(c.Repo) + "/git/blobs/" + f[2]})
	}
	return api.Created(obj{"sha": tree, "url": c.Hub.APIRepo(c.Repo) + "/git/trees/" + tree, "truncated": false, "tree": items})
}

func gitCommitJSON(c *call, m bare.Commit) obj {
	parents := []any{}
	for _, p := range m.Parents {
		parents = append(parents, obj{"sha": p, "url": c.Hub.APIRepo(c.Repo) + "/git/commits/" + p, "html_url": c.Hub.URL + "/" + c.Repo.Full() + "/commit/" + p})
	}
	return obj{
		"sha": m.SHA, "node_id": hub.CommitNode(c.Repo, m.SHA), "url": c.Hub.APIRepo(c.Repo) + "/git/commits/" + m.SHA,
		"html_url": c.Hub.URL + "/" + c.Repo.Full() + "/commit/" + m.SHA, "author": hub.GitPerson(m.Author), "committer": hub.GitPerson(m.Committer),
		"message": m.Message, "tree": obj{"sha": m.Tree, "url": c.Hub.APIRepo(c.Repo) + "/git/trees/" + m.Tree}, "parents": parents,
		"verification": c.Hub.Verification(m.SHA),
	}
}

func getGitCommit(c *call) reply {
	m, err := c.Repo.Git.Commit(c.Ctx, c.Request.PathValue("commit_sha"))
	if err != nil {
		return api.NotFound()
	}
	return api.OK(gitCommitJSON(c, m))
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
	if out, good := c.Decode(&in); !good {
		return out
	}
	at := c.Hub.Tick()
	m := bare.Commit{Tree: in.Tree, Parents: in.Parents, Message: in.Message}
	m.Author = bare.Person{Name: c.Actor().Login, Email: c.Actor().Email(), When: at}
	m.Committer = m.Author
	if in.Author != nil {
		m.Author = bare.Person{Name: in.Author.Name, Email: in.Author.Email, When: at}
		m.Committer = m.Author
	}
	if in.Committer != nil {
		m.Committer = bare.Person{Name: in.Committer.Name, Email: in.Committer.Email, When: at}
	}
	signed := c.ViaApp() && in.Author == nil && in.Committer == nil
	if signed {
		m.Committer = bare.Person{Name: "GitHub", Email: c.Hub.WebFlow.Email(), When: at}
	}
	sha, err := c.Repo.Git.CommitTree(c.Ctx, m)
	if err != nil {
		return api.Refuse(http.StatusUnprocessableEntity, "Tree SHA does not exist")
	}
	if signed {
		c.Hub.Signatures[sha] = hub.Signed
	}
	m.SHA = sha
	return api.Created(gitCommitJSON(c, m))
}

func graphQL(c *call) reply {
	if c.Cred == nil {
		return api.Refuse(http.StatusUnauthorized, "This endpoint requires you to be authenticated.")
	}
	var in struct {
		Query     string
		Variables map[string]any
	}
	if out, good := c.Decode(&in); !good {
		return out
	}
	return api.OK(graphql.Answer(c.Ctx, c.Hub, c.Cred, in.Query, in.Variables))
}
