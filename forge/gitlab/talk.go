package gitlab

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
	"lockkeeper/forge/gitlab/internal/api"
	"lockkeeper/forge/gitlab/internal/quick"
	"lockkeeper/forge/internal/wire"
)

// Comments lists the conversation of a pull, oldest first. Left out are GitLab's
// own remarks, comments on the diff, and internal notes: what not everybody sees
// who sees the pull can be no command, and no approval.
func (f *Forge) Comments(ctx context.Context, ref forge.RepoRef, number int) ([]forge.Comment, error) {
	op := fmt.Sprintf("list comments of pull %s#%d", ref, number)
	ref, err := f.at(ctx, ref)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	me, err := f.me(ctx)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	found, err := f.notes(ctx, ref, number, nil)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	var out []forge.Comment
	for _, n := range found {
		//lint:ignore SA1019 releases before internal notes had another name for them; what is hidden must not be heard
		if !n.System && n.Type != gl.DiffNote && !n.Internal && !n.Confidential {
			out = append(out, f.toComment(ref, number, n, me.user.ID))
		}
	}
	if err := f.edited(ctx, ref, number, out); err != nil {
		return nil, wire.Fail(op, err)
	}
	who := make([]*forge.User, len(out))
	for i := range out {
		who[i] = &out[i].Author
	}
	if err := f.api.Typed(ctx, who...); err != nil {
		return nil, wire.Fail(op, err)
	}
	return out, nil
}

// notes lists notes, oldest first, each once.
func (f *Forge) notes(ctx context.Context, ref forge.RepoRef, number int, q url.Values) ([]*gl.Note, error) {
	if q == nil {
		q = url.Values{}
	}
	q.Set("order_by", "created_at")
	q.Set("sort", "asc")
	all, err := api.List[*gl.Note](ctx, f.api, fmt.Sprintf("projects/%d/merge_requests/%d/notes", ref.ID, number), q)
	if err != nil {
		return nil, err
	}
	var out []*gl.Note
	seen := map[int64]bool{}
	for _, n := range all {
		if n != nil && !seen[n.ID] {
			seen[n.ID] = true
			out = append(out, n)
		}
	}
	return out, nil
}

func (f *Forge) toComment(ref forge.RepoRef, number int, n *gl.Note, me int64) forge.Comment {
	c := forge.Comment{
		ID:        n.ID,
		Author:    api.Someone(n.Author.ID, n.Author.Username),
		Body:      n.Body,
		URL:       f.noteURL(ref, number, n.ID),
		CreatedAt: api.Moment(n.CreatedAt),
		UpdatedAt: api.Moment(n.UpdatedAt),
	}
	if c.Author.ID == me {
		c.Body = quick.Original(c.Body)
	}
	return c
}

func (f *Forge) noteURL(ref forge.RepoRef, number int, id int64) string {
	return fmt.Sprintf("%s/%s/-/merge_requests/%d#note_%d", f.root, ref, number, id)
}

const editsQuery = `query($ids:[ID!],$iid:String!,$after:String){projects(ids:$ids){nodes{mergeRequest(iid:$iid){notes(first:100,after:$after){nodes{id lastEditedAt}pageInfo{hasNextPage endCursor}}}}}}`

// edited finds out when comments were edited. REST does not tell: a reaction and
// the closing of a thread move updated_at as well. What GraphQL does not show
// keeps that time, and counts as edited.
func (f *Forge) edited(ctx context.Context, ref forge.RepoRef, number int, comments []forge.Comment) error {
	at := map[int64]int{}
	for i, c := range comments {
		if c.Edited() {
			at[c.ID] = i
		}
	}
	if len(at) == 0 {
		return nil
	}
	notes, err := api.Connected(ctx, f.api, ref, number, editsQuery, func(m *api.MergeRequest) api.Connection[api.Note] { return m.Notes })
	if err != nil {
		return err
	}
	for _, n := range notes {
		id, err := strconv.ParseInt(n.ID[strings.LastIndexByte(n.ID, '/')+1:], 10, 64)
		i, ok := at[id]
		if err != nil || !ok {
			continue
		}
		c := &comments[i]
		c.UpdatedAt = c.CreatedAt
		if n.LastEdited != nil {
			c.UpdatedAt = n.LastEdited.UTC()
			if !c.Edited() { // within the same moment
				c.UpdatedAt = c.CreatedAt.Add(time.Millisecond)
			}
		}
	}
	return nil
}

// CreateComment writes to the conversation of a pull.
func (f *Forge) CreateComment(ctx context.Context, ref forge.RepoRef, number int, body string) (forge.Comment, error) {
	op := fmt.Sprintf("comment on pull %s#%d", ref, number)
	ref, err := f.at(ctx, ref)
	if err != nil {
		return forge.Comment{}, wire.Fail(op, err)
	}
	text, err := quick.Plain(body)
	if err != nil {
		return forge.Comment{}, wire.Fail(op, err)
	}
	n, _, err := f.api.SDK.Notes.CreateMergeRequestNote(ref.ID, int64(number), &gl.CreateMergeRequestNoteOptions{Body: &text}, gl.WithContext(ctx))
	if err != nil {
		return forge.Comment{}, wire.Fail(op, err)
	}
	return f.said(ctx, op, ref, number, n)
}

// UpdateComment replaces the body of a comment; nobody is notified.
func (f *Forge) UpdateComment(ctx context.Context, ref forge.RepoRef, number int, id int64, body string) (forge.Comment, error) {
	op := fmt.Sprintf("update comment %d of pull %s#%d", id, ref, number)
	ref, err := f.at(ctx, ref)
	if err != nil {
		return forge.Comment{}, wire.Fail(op, err)
	}
	text, err := quick.Plain(body)
	if err != nil {
		return forge.Comment{}, wire.Fail(op, err)
	}
	n, _, err := f.api.SDK.Notes.UpdateMergeRequestNote(ref.ID, int64(number), id, &gl.UpdateMergeRequestNoteOptions{Body: &text}, gl.WithContext(ctx))
	if err != nil {
		return forge.Comment{}, wire.Fail(op, err)
	}
	return f.said(ctx, op, ref, number, n)
}

// said is a comment of ours that was written.
func (f *Forge) said(ctx context.Context, op string, ref forge.RepoRef, number int, n *gl.Note) (forge.Comment, error) {
	if n.ID == 0 {
		// What GitLab answers to quick actions alone.
		return forge.Comment{}, wire.Fail(op, &forge.Error{Code: forge.Invalid, Message: "the forge made no comment of the text"})
	}
	c := f.toComment(ref, number, n, n.Author.ID)
	if err := f.api.Typed(ctx, &c.Author); err != nil {
		return forge.Comment{}, wire.Fail(op, err)
	}
	return c, nil
}

// DeleteComment removes a comment.
func (f *Forge) DeleteComment(ctx context.Context, ref forge.RepoRef, number int, id int64) error {
	op := fmt.Sprintf("delete comment %d of pull %s#%d", id, ref, number)
	ref, err := f.at(ctx, ref)
	if err != nil {
		return wire.Fail(op, err)
	}
	if _, err := f.api.SDK.Notes.DeleteMergeRequestNote(ref.ID, int64(number), id, gl.WithContext(ctx)); err != nil {
		return wire.Fail(op, err)
	}
	return nil
}

// React marks a comment; doing it twice leaves one mark, which GitLab answers
// with 404.
func (f *Forge) React(ctx context.Context, ref forge.RepoRef, number int, commentID int64, r forge.Reaction) error {
	op := fmt.Sprintf("react to comment %d of pull %s#%d", commentID, ref, number)
	ref, err := f.at(ctx, ref)
	if err != nil {
		return wire.Fail(op, err)
	}
	// forge.Reaction uses words that GitLab knows as well.
	_, _, err = f.api.SDK.AwardEmoji.CreateMergeRequestAwardEmojiOnNote(ref.ID, int64(number), commentID, &gl.CreateAwardEmojiOptions{Name: string(r)}, gl.WithContext(ctx))
	if err != nil {
		err = wire.Fail(op, err)
		if forge.CodeOf(err) == forge.NotFound && strings.Contains(err.Error(), "already been taken") {
			return nil
		}
		return err
	}
	return nil
}
