package forge

import "context"

type backgroundKey struct{}

// Background marks what is done under ctx as work that nobody waits for: a
// sweep, a look at drift, plans because a base moved. While a forge has only
// little left of what it grants per hour, such calls fail with RateLimited and
// are not sent, so that people are answered.
func Background(ctx context.Context) context.Context {
	return context.WithValue(ctx, backgroundKey{}, true)
}

// Awaited marks what is done under ctx as work that somebody waits for, whatever
// it was before.
func Awaited(ctx context.Context) context.Context {
	return context.WithValue(ctx, backgroundKey{}, false)
}

// IsBackground reports whether ctx was marked by Background last.
func IsBackground(ctx context.Context) bool {
	is, _ := ctx.Value(backgroundKey{}).(bool)
	return is
}
