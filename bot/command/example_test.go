package command_test

import (
	"fmt"

	"lockkeeper/bot/command"
)

func ExampleParse() {
	comment := "Looks good to me, thanks!\n" +
		"/approve\n" +
		"/apply staging 1a2b3c4\n" +
		"\n" +
		"> /apply production\n" +
		"\n" +
		"/aply production\n"
	for _, p := range command.Parse(comment) {
		if p.Err != nil {
			fmt.Println(p.Err)
			continue
		}
		fmt.Printf("%s %q %q\n", p.Name, p.Targets, p.SHA)
	}
	// Output:
	// approve [] ""
	// apply ["staging"] "1a2b3c4"
	// there is no command `/aply`; did you mean `/apply`?
}
