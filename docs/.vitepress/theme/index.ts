// The default theme without its web font: the pages fetch nothing that does not lie beside them.
import DefaultTheme from "vitepress/theme-without-fonts";
import "./colors.css";

export default DefaultTheme;
