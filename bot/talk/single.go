package talk

import (
	"context"
	"regexp"

	"lockkeeper/bot/reconcile"
	"lockkeeper/forge"
)

// once is the marker of a comment that there may be one of: a part of the report,
// or the reply to a command.
var once = regexp.MustCompile(`^<!-- lockkeeper:(pull|reply)/[^>]*-->`)

// Single deletes what was said twice. A write may reach the forge after the one
// who sent it was taken for dead, and another has written the same: of comments of
// ours with one marker the oldest stays.
func (s *Speaker) Single(ctx context.Context, p *reconcile.State) error {
	first := map[string]forge.Comment{}
	var kept []forge.Comment
	for _, c := range p.Comments { // oldest first
		marker := once.FindString(c.Body)
		if c.Author.ID != p.Self.ID || marker == "" {
			kept = append(kept, c)
			continue
		}
		older, doubled := first[marker]
		if !doubled {
			first[marker] = c
			kept = append(kept, c)
			continue
		}
		if err := s.Forge.DeleteComment(ctx, p.Operator.Ref(), p.Pull.Number, c.ID); err != nil && forge.CodeOf(err) != forge.NotFound {
			return err
		}
		s.Log.WarnContext(ctx, "a comment of ours was there twice: the younger one is deleted", "comment", c.ID, "stays", older.ID)
		for i, known := range p.Memory.Sticky {
			if known.ID == c.ID { // what the older one says is not known: it is written again
				p.Memory.Sticky[i] = reconcile.Posted{ID: older.ID, URL: older.URL}
			}
		}
	}
	p.Comments = kept
	return nil
}
